"""The parts of a file that have text, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module

from mrag_pipeline.corpus.formats.charset import NotText
from mrag_pipeline.corpus.formats.extracted import Extracted

Reader = Callable[[bytes], Iterator[Extracted]]
# By suffix: the module beside this one and its function, imported when first needed, and what a
# part is called.
_READERS = {
    ".pdf": ("pdf", "pages", "page"),
    ".docx": ("word", "sections", "section"),
    ".pptx": ("presentation", "slides", "slide"),
    ".xlsx": ("workbook", "sheets", "sheet"),
    ".epub": ("book", "chapters", "chapter"),
    ".eml": ("mail", "message", "message"),
    ".mbox": ("mail", "mailbox", "message"),
    ".ipynb": ("notebook", "cells", "notebook"),
}


def parts_of(data: bytes, suffix: str) -> Iterator[Extracted]:
    """The parts with text, in order. What holds none is told by a remark of the next part.

    Raises: NotText if the file cannot be read, or no part has text; what a parser raises.
    """
    module, function, name = _READERS[suffix]
    try:
        read: Reader = getattr(import_module(f"{__package__}.{module}"), function)
    except ImportError as error:
        raise NotText(
            f"reading {suffix} needs {error.name}: pip install 'mrag-pipeline[documents]'"
        ) from None
    held: Extracted | None = None
    num_parts = num_empty = 0
    for part in read(data):
        num_parts += 1
        if not part.text.strip():
            num_empty += 1
            continue
        if held is not None:
            yield held
        held = _with_remarks(part, name, num_empty)
        num_empty = 0
    if held is None:
        few = f"its {num_parts} {name}(s) hold" if num_parts else "it holds"
        raise NotText(f"{few} no text: images are not read")
    yield _with_remarks(held, name, num_empty)


def _with_remarks(part: Extracted, name: str, num_empty: int) -> Extracted:
    remark = f"a {name} without text (perhaps an image): left out"
    return replace(part, remarks=(*part.remarks, *[remark] * num_empty))
