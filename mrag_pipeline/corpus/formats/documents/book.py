"""EPUB: a part for each chapter file, in the order of the book."""

from __future__ import annotations

import posixpath
import xml.etree.ElementTree as ET  # expat, which bounds what entities grow to
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote

from mrag_pipeline.corpus.formats.charset import NotText, decoded_page
from mrag_pipeline.corpus.formats.documents.archive import unpacked
from mrag_pipeline.corpus.formats.extracted import Extracted
from mrag_pipeline.corpus.formats.page_text import page_text

_PAGES = ("application/xhtml+xml", "text/html")


def chapters(data: bytes) -> Iterator[Extracted]:
    """The text of each page of the spine.

    Raises: NotText if it has no spine, or its pages are encrypted; KeyError, ParseError.
    """
    with unpacked(data) as archive:
        container = _parsed(archive, "META-INF/container.xml")
        root = next((one.get("full-path", "") for one in _all(container, "rootfile")), "")
        if not root:
            raise NotText("META-INF/container.xml names no book")
        package = _parsed(archive, root)
        titles = (" ".join("".join(one.itertext()).split()) for one in _all(package, "title"))
        title = next(titles, "")
        items = {one.get("id", ""): one for one in _all(package, "item")}
        encrypted = _encrypted(archive)
        number = 0
        for reference in _all(package, "itemref"):
            item = items.get(reference.get("idref", ""))
            if item is None or item.get("media-type") not in _PAGES:
                continue
            path = posixpath.normpath(
                posixpath.join(posixpath.dirname(root), unquote(item.get("href", "")))
            )
            if path in encrypted:
                raise NotText("it is encrypted (DRM)")
            number += 1
            heading, text = page_text(decoded_page(archive.read(path)), whole=True)
            fields = {"heading": heading} if heading else {}
            yield Extracted(text, title, fields, f"chapter={number}", heading)


def _encrypted(archive: zipfile.ZipFile) -> frozenset[str]:
    """The files that are encrypted; fonts often are, which does not matter."""
    try:
        listed = _parsed(archive, "META-INF/encryption.xml")
    except KeyError:
        return frozenset()
    return frozenset(unquote(one.get("URI", "")) for one in _all(listed, "CipherReference"))


def _parsed(archive: zipfile.ZipFile, path: str) -> ET.Element:
    return ET.fromstring(archive.read(path))


def _all(root: ET.Element, name: str) -> Iterator[ET.Element]:
    """The elements of that name in any namespace, in order."""
    return (one for one in root.iter() if str(one.tag).rpartition("}")[2] == name)
