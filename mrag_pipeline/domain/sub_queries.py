"""A query put in several ways, as RAG-Fusion asks a chat model to."""

from __future__ import annotations

import re

# "1. ", "2) ", "- ", "* " before a line.
_MARK = re.compile(r"^\s*(?:\d+\s*[.):]|[-*•])\s+")


def prompt(query: str, count: int) -> str:
    """The prompt for the model: one search query a line, for each subject of the text."""
    return (
        f"Write {count} short search queries that together cover every subject of the text "
        "below. One query a line, no numbering, nothing else.\n\n"
        f"Text:\n{query}"
    )


def parse(answer: str, count: int) -> list[str]:
    """The sub-queries in a model's answer: at most `count`, without list marks, each once."""
    lines = (_MARK.sub("", line).strip().strip('"') for line in answer.splitlines())
    return list(dict.fromkeys(line for line in lines if line))[:count]
