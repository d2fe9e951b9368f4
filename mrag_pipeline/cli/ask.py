"""`mrag search`."""

from __future__ import annotations


def search(query: str) -> None:
    """Search."""
