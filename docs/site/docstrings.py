"""Our docstrings for mkdocstrings: `Raises: X; Y if ...` on one line is a sentence, not a section."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SENTENCE = re.compile(r"^(Raises|Returns|Source): (\S.*(?:\n {4}\S.*)*)", re.MULTILINE)


class OneLineSections(griffe.Extension):
    """Keeps them as paragraphs; the parser would drop what it cannot split."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Changes the docstring in place."""
        if obj.docstring is not None:
            obj.docstring.value = _SENTENCE.sub(_paragraph, obj.docstring.value)


def _paragraph(match: re.Match[str]) -> str:
    return f"\n**{match[1]}**: {' '.join(match[2].split())}\n"
