"""PPTX: a part for each slide, with its notes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from pptx import Presentation

from mrag_pipeline.corpus.formats.documents.archive import unpacked
from mrag_pipeline.corpus.formats.extracted import Extracted


def slides(data: bytes) -> Iterator[Extracted]:
    """The text of each slide's shapes, tables and notes, in the order of the file."""
    unpacked(data).close()
    presentation = Presentation(io.BytesIO(data))
    title = " ".join((presentation.core_properties.title or "").split())
    for number, slide in enumerate(presentation.slides, start=1):
        named = slide.shapes.title
        heading = " ".join(named.text_frame.text.split()) if named is not None else ""
        lines = list(_texts(slide.shapes))
        if slide.has_notes_slide:
            notes = slide.notes_slide.notes_text_frame
            lines += [notes.text] if notes is not None else []
        fields: dict[str, object] = {"page": number}
        fields |= {"heading": heading} if heading else {}
        text = "\n".join(line.replace("\v", "\n") for line in lines if line.strip())
        yield Extracted(text, title, fields, f"slide={number}", heading)


def _texts(shapes: Iterable[Any]) -> Iterator[str]:
    for shape in shapes:
        if hasattr(shape, "shapes"):  # a group
            yield from _texts(shape.shapes)
        elif shape.has_text_frame:
            yield shape.text_frame.text
        elif getattr(shape, "has_table", False):
            for row in shape.table.rows:
                cells = [" ".join(cell.text.split()) for cell in row.cells]
                yield " | ".join(filter(None, cells))
