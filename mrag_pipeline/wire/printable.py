"""Text that can be sent."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with half surrogate pairs, which cannot be encoded, replaced."""
    return text.encode("utf-8", "replace").decode()
