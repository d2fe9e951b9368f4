"""The parts of a file that have text, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from mrag_pipeline.corpus.formats.charset import NotText
from mrag_pipeline.corpus.formats.extracted import Extracted

Reader = Callable[[bytes], Iterator[Extracted]]


def parts_of(data: bytes, suffix: str) -> Iterator[Extracted]:
    """The parts with text, in order. What holds none is told by a remark of the next part.

    Raises: NotText if the file cannot be read, or no part has text; what a parser raises.
    """
    try:
        read, name = _reader(suffix)
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


def _reader(suffix: str) -> tuple[Reader, str]:
    """What reads files with the suffix, and the name of a part. Imports what it needs."""
    if suffix == ".pdf":
        from mrag_pipeline.corpus.formats.documents.pdf import pages

        return pages, "page"
    if suffix == ".docx":
        from mrag_pipeline.corpus.formats.documents.word import sections

        return sections, "section"
    if suffix == ".pptx":
        from mrag_pipeline.corpus.formats.documents.presentation import slides

        return slides, "slide"
    if suffix == ".xlsx":
        from mrag_pipeline.corpus.formats.documents.workbook import sheets

        return sheets, "sheet"
    if suffix == ".epub":
        from mrag_pipeline.corpus.formats.documents.book import chapters

        return chapters, "chapter"
    if suffix == ".ipynb":
        from mrag_pipeline.corpus.formats.documents.notebook import cells

        return cells, "notebook"
    from mrag_pipeline.corpus.formats.documents.mail import mailbox, message

    return (message if suffix == ".eml" else mailbox), "message"


def _with_remarks(part: Extracted, name: str, num_empty: int) -> Extracted:
    remark = f"a {name} without text (perhaps an image): left out"
    return replace(part, remarks=(*part.remarks, *[remark] * num_empty))
