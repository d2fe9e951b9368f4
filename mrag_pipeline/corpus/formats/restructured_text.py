"""The title and the text of a reStructuredText file, through docutils.

Nothing is fetched, included or run: docutils' file insertion and raw directives are off.
"""

from __future__ import annotations

from docutils.core import publish_parts
from docutils.utils import SystemMessage

from mrag_pipeline.corpus.formats.page_text import page_text
from mrag_pipeline.corpus.formats.sphinx_markup import accept_sphinx_markup

_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,  # report nothing
    "halt_level": 5,
    "_disable_config": True,
    "embed_stylesheet": False,
    "line_length_limit": 10_000_000,
    "doctitle_xform": True,
    "smart_quotes": False,
    "syntax_highlight": "none",
}


def restructured_text(source: str) -> tuple[str, str]:
    """The title ("" if it has none) and the text."""
    accept_sphinx_markup(source)
    try:
        parts = publish_parts(source, writer="html5", settings_overrides=_SETTINGS)
    except SystemMessage:  # docutils gave up; the source itself is readable
        return "", source
    return page_text(parts["html_body"], whole=True)
