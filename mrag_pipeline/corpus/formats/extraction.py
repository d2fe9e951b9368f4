"""Extracts the text of one file of prose, by its suffix. Raises whatever its parsers raise."""

from __future__ import annotations

from collections.abc import Iterator

from mrag_pipeline.corpus.formats.charset import decoded_page, decoded_text
from mrag_pipeline.corpus.formats.extracted import Extracted

PLAIN = (".txt",)
MARKUP = (".md", ".markdown", ".rst", ".html", ".htm", ".xhtml")
# Files that hold parts of their own: pages, slides, chapters, messages.
DOCUMENTS = (".pdf", ".docx", ".pptx", ".xlsx", ".epub", ".eml", ".mbox", ".ipynb")


def is_plain(suffix: str) -> bool:
    """Whether files with the suffix have no markup."""
    return suffix not in (*MARKUP, *DOCUMENTS)


def extract(data: bytes, suffix: str, encoding: str) -> Iterator[Extracted]:
    """The documents in a file's bytes, in their order: one, or one for each part with text.

    Args:
        suffix: lower case, with its dot.
        encoding: a label from the settings; "" detects.
    Raises: NotText, and what a parser raises.
    """
    # Imported when first needed: docutils takes a second.
    if suffix in DOCUMENTS:
        from mrag_pipeline.corpus.formats.documents.parts import parts_of

        yield from parts_of(data, suffix)
        return
    if suffix in (".html", ".htm", ".xhtml"):
        from mrag_pipeline.corpus.formats.page_text import page_text

        title, text = page_text(decoded_page(data, encoding))
        yield Extracted(text, title)
        return
    text = decoded_text(data, encoding).replace("\r\n", "\n")
    if suffix in (".md", ".markdown"):
        from mrag_pipeline.corpus.formats.markdown_text import markdown_text

        title, text, fields = markdown_text(text.replace("\r", "\n"))
        yield Extracted(text, title, fields)
    elif suffix == ".rst":
        from mrag_pipeline.corpus.formats.restructured_text import restructured_text

        title, text = restructured_text(text)
        yield Extracted(text, title)
    else:
        yield Extracted(text)
