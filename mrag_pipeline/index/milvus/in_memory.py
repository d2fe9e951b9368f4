"""How the parts of the adapter read from a collection that has to be in Milvus's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class InMemory(Protocol):
    """Loads the collection, reads, and does both again if a restarted server had released it."""

    def __call__(self, collection: str, read: Callable[[], T]) -> T:
        """What `read` returns; it may be called twice."""
