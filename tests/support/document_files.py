"""Files of every kind that holds parts, each with a marked sentence on a known part."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage

MARKED = "The ferry to Runde leaves at nine."


def pdf(
    pages: Sequence[str], outline: Mapping[str, int] | None = None, password: str = ""
) -> bytes:
    """A PDF with one line of text on each page; outline entries by page, counted from 0."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    for text in pages:
        page = writer.add_blank_page(612, 792)
        escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 72 700 Td ({escaped}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream)
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    for title, number in (outline or {}).items():
        writer.add_outline_item(title=title, page_number=number)
    writer.add_metadata({"/Title": "Timetables"})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    return _saved(writer.write)


def word() -> bytes:
    """Two sections with a table in the second."""
    import docx

    document = docx.Document()
    document.core_properties.title = "Handbook"
    document.add_paragraph("Before any heading.")
    document.add_heading("Limits", level=1)
    document.add_paragraph(MARKED)
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "left cell", "right cell"
    return _saved(document.save)


def presentation() -> bytes:
    """An empty slide, and one with title, text and notes."""
    from pptx import Presentation

    made = Presentation()
    made.slides.add_slide(made.slide_layouts[6])
    slide = made.slides.add_slide(made.slide_layouts[1])
    assert slide.shapes.title is not None
    slide.shapes.title.text = "Departures"
    slide.placeholders[1].text = MARKED
    notes = slide.notes_slide.notes_text_frame
    assert notes is not None
    notes.text = "Say it slowly."
    return _saved(made.save)


def workbook() -> bytes:
    """Two sheets."""
    from openpyxl import Workbook

    made = Workbook()
    assert made.active is not None
    made.active.title = "Prices"
    made.active.append(["one way", 12.5])
    made.create_sheet("Notes").append([MARKED, None, 3])
    return _saved(made.save)


def book(encrypted: str = "") -> bytes:
    """An EPUB of two chapters; `encrypted` names a file that its rights encrypt."""
    chapters = {"a.xhtml": ("One", "It rained."), "b.xhtml": ("Two", MARKED)}
    items = "".join(
        f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in chapters
    )
    spine = "".join(f'<itemref idref="{name}"/>' for name in chapters)
    files = {
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/book.opf"/>'
        "</rootfiles></container>",
        "OPS/book.opf": f"<package><metadata><title>Islands</title></metadata><manifest>{items}"
        f"</manifest><spine>{spine}</spine></package>",
    }
    for name, (title, text) in chapters.items():
        files[f"OPS/{name}"] = f"<html><body><h1>{title}</h1><p>{text}</p></body></html>"
    if encrypted:
        files["META-INF/encryption.xml"] = (
            f'<encryption><CipherReference URI="{encrypted}"/></encryption>'
        )
    return zipped(files)


def message(subject: str = "The ferry", text: str = MARKED) -> bytes:
    """A message with an attachment."""
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = subject, "a@example.org", "b@example.org"
    made.set_content(text)
    made.add_attachment(b"\x00", maintype="application", subtype="octet-stream", filename="x.bin")
    return made.as_bytes()


def mailbox() -> bytes:
    """Two messages; the first has a line that begins with From."""
    first = message("Rain", "It rained.\n\n>From the west, as ever.")
    return b"".join(
        b"From a@example.org Sat Nov 28 12:00:00 2026\n" + one + b"\n" for one in (first, message())
    )


def notebook() -> bytes:
    """Prose, code and an output."""
    cells = [
        {"cell_type": "markdown", "source": ["# Ferries\n", MARKED]},
        {"cell_type": "code", "source": "print(9)", "outputs": [{"text": "9"}]},
    ]
    return json.dumps({"nbformat": 4, "cells": cells}).encode()


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    made = io.BytesIO()
    save(made)
    return made.getvalue()
