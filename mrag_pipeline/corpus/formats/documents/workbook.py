"""XLSX: a part for each sheet, a line for each row."""

from __future__ import annotations

import io
from collections.abc import Iterator

from openpyxl import load_workbook

from mrag_pipeline.corpus.formats.documents.archive import unpacked
from mrag_pipeline.corpus.formats.extracted import Extracted


def sheets(data: bytes) -> Iterator[Extracted]:
    """Values as they were last calculated; formulas are not."""
    unpacked(data).close()
    workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    try:
        title = " ".join((workbook.properties.title or "").split())
        for number, sheet in enumerate(workbook.worksheets, start=1):
            rows = (
                " | ".join(
                    str(value).strip() for value in row if value is not None and str(value).strip()
                )
                for row in sheet.iter_rows(values_only=True)
            )
            text = "\n".join(filter(None, rows))
            fields = {"heading": sheet.title}
            yield Extracted(text, title, fields, f"sheet={number}", sheet.title)
    finally:
        workbook.close()
