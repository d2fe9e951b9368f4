"""Small pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([_*\[\]<>{}\\])")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells may hold anything but line ends, which become spaces."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines) + "\n"


def cell(text: str) -> str:
    """Text within a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Text between backticks, nothing for none."""
    return f"`{text}`" if text else ""


def plain(text: str) -> str:
    """Text that is not Markdown: nothing in it becomes emphasis, a link or HTML."""
    parts = text.split("`")
    parts[::2] = [_SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
