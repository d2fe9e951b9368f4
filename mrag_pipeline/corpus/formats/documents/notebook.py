"""Jupyter notebooks: the prose and the code of their cells, without what they printed."""

from __future__ import annotations

import json
from collections.abc import Iterator

from mrag_pipeline.corpus.formats.charset import NotText, decoded_text
from mrag_pipeline.corpus.formats.extracted import Extracted
from mrag_pipeline.corpus.formats.markdown_text import markdown_text


def cells(data: bytes) -> Iterator[Extracted]:
    """The notebook as one document; its title is its first heading.

    Raises: NotText if it is no notebook.
    """
    try:
        notebook = json.loads(decoded_text(data))
    except (ValueError, RecursionError) as error:
        raise NotText(f"it is not JSON: {error}") from None
    listed = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(listed, list):
        raise NotText("it has no list of cells, as notebooks of version 4 have")
    title, texts, num_outputs = "", list[str](), 0
    for cell in listed:
        if not isinstance(cell, dict):
            continue
        source = cell.get("source", "")
        text = "".join(map(str, source)) if isinstance(source, list) else str(source)
        if cell.get("cell_type") == "markdown":
            heading, text, _ = markdown_text(text)
            title = title or heading
        num_outputs += bool(cell.get("outputs"))
        texts.append(text.strip())
    remarks = ("what a cell of a notebook printed: left out",) * num_outputs
    yield Extracted("\n\n".join(filter(None, texts)), title, remarks=remarks)
