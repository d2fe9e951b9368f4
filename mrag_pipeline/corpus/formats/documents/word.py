"""DOCX: a part for each heading and the text below it."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET  # expat, which bounds what entities grow to
import zipfile
from collections.abc import Iterator
from contextlib import suppress

import docx
from docx.table import Table
from docx.text.paragraph import Paragraph

from mrag_pipeline.corpus.formats.documents.archive import unpacked
from mrag_pipeline.corpus.formats.extracted import Extracted

_HEADING = re.compile(r"(?:heading|title)\s*\d*$", re.IGNORECASE)  # of style ids and names
_NOTES = ("footnote", "endnote", "comment")


def sections(data: bytes) -> Iterator[Extracted]:
    """Paragraphs and tables in their order; headers, footers and notes are left out."""
    with unpacked(data) as archive:
        remarks = tuple(_notes(archive))
    document = docx.Document(io.BytesIO(data))
    title = " ".join((document.core_properties.title or "").split())
    heading, lines, number = "", list[str](), 0
    for block in document.iter_inner_content():
        if isinstance(block, Paragraph) and _is_heading(block):
            if lines:
                number += 1
                yield _section(number, heading, lines, title, remarks if number == 1 else ())
            heading, lines = " ".join(block.text.split()), []
        elif isinstance(block, Table):
            lines += _rows(block)
        elif block.text.strip():
            lines.append(block.text)
    if heading or lines:
        number += 1
        yield _section(number, heading, lines, title, remarks if number == 1 else ())


def _notes(archive: zipfile.ZipFile) -> Iterator[str]:
    """A remark for each note. Word writes notes of a type into every file: the lines above them."""
    for kind in _NOTES:
        with suppress(KeyError):
            for note in ET.fromstring(archive.read(f"word/{kind}s.xml")):
                if not any(name.endswith("}type") for name in note.attrib):
                    yield f"a {kind} of a Word file: left out"


def _section(
    number: int, heading: str, lines: list[str], title: str, remarks: tuple[str, ...]
) -> Extracted:
    fields = {"heading": heading} if heading else {}
    text = "\n\n".join(lines) or heading
    return Extracted(text, title, fields, f"section={number}", heading, remarks)


def _is_heading(paragraph: Paragraph) -> bool:
    style = paragraph.style
    if style is None or not paragraph.text.strip():
        return False
    return any(_HEADING.match(name) for name in (style.style_id, style.name or ""))


def _rows(table: Table) -> list[str]:
    rows = []
    for row in table.rows:
        # A cell that spans several columns is there once for each.
        cells = dict.fromkeys(" ".join(cell.text.split()) for cell in row.cells)
        line = " | ".join(filter(None, cells))
        if line:
            rows.append(line)
    return rows
