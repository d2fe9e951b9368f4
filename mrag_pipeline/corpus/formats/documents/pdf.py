"""PDF: a part for each page, with the heading that the file's outline has for it."""

from __future__ import annotations

import bisect
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from mrag_pipeline.corpus.formats.charset import NotText
from mrag_pipeline.corpus.formats.extracted import Extracted

logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of every flaw that it mends


def pages(data: bytes) -> Iterator[Extracted]:
    """Each page's text as the file orders it; nothing in it is run or fetched.

    Raises: NotText if it needs a password; what pypdf raises.
    """
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise NotText("it is encrypted: it opens with a password only")
    title = ""
    with suppress(PyPdfError, ValueError, KeyError):
        about = reader.metadata
        title = " ".join(str((about and about.title) or "").split())
    headings = _headings(reader)
    starts = [page for page, _ in headings]
    for number, page in enumerate(reader.pages, start=1):
        above = bisect.bisect_right(starts, number)
        heading = headings[above - 1][1] if above else ""
        fields: dict[str, object] = {"page": number}
        fields |= {"heading": heading} if heading else {}
        yield Extracted(page.extract_text(), title, fields, f"page={number}", heading)


def _headings(reader: PdfReader) -> list[tuple[int, str]]:
    """The page on which each entry of the outline begins, counted from 1, and its title."""
    found: list[tuple[int, str]] = []

    def add(entries: Sequence[Any]) -> None:
        for entry in entries:
            if isinstance(entry, list):
                add(entry)
                continue
            with suppress(PyPdfError, ValueError, KeyError, TypeError, AttributeError):
                page = reader.get_destination_page_number(entry)
                if page is not None and page >= 0:
                    found.append((page + 1, " ".join(str(entry.title).split())))

    # A broken outline costs the headings, not the text.
    with suppress(PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        add(reader.outline)
    return sorted(found, key=lambda entry: entry[0])
