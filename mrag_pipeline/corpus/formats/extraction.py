"""Extracts the text of one file of prose, by its suffix. Raises whatever its parsers raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mrag_pipeline.corpus.formats.charset import decoded_page, decoded_text


@dataclass(frozen=True, slots=True)
class Extracted:
    """What a file of prose holds."""

    text: str
    title: str = ""  # empty if it names none
    fields: Mapping[str, object] = field(default_factory=dict)  # of its front matter


def is_plain(suffix: str) -> bool:
    """Whether files with the suffix have no markup."""
    return suffix not in (".html", ".htm", ".xhtml", ".md", ".markdown", ".rst")


def extract(data: bytes, suffix: str, encoding: str) -> Extracted:
    """The text in a file's bytes.

    Args:
        suffix: lower case, with its dot.
        encoding: a label from the settings; "" detects.
    Raises: NotText, and what a parser raises.
    """
    # Imported when first needed: docutils takes a second.
    if suffix in (".html", ".htm", ".xhtml"):
        from mrag_pipeline.corpus.formats.page_text import page_text

        title, text = page_text(decoded_page(data, encoding))
        return Extracted(text, title)
    text = decoded_text(data, encoding).replace("\r\n", "\n")
    if suffix in (".md", ".markdown"):
        from mrag_pipeline.corpus.formats.markdown_text import markdown_text

        title, text, fields = markdown_text(text.replace("\r", "\n"))
        return Extracted(text, title, fields)
    if suffix == ".rst":
        from mrag_pipeline.corpus.formats.restructured_text import restructured_text

        title, text = restructured_text(text)
        return Extracted(text, title)
    return Extracted(text)
