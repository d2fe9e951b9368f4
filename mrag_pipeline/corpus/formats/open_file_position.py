"""A file that can only be read from its start, held open where the last piece of it ended.

Of a compressed file or a JSON array cut into n pieces, the k-th costs k pieces of reading. Who
reads the pieces in order, with a bookmark, reads the file once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from mrag_pipeline.domain.planning import Slice

T = TypeVar("T")


class Bookmark:
    """At most one open file; not for several threads."""

    def __init__(self) -> None:
        self._file: tuple[str, str] | None = None
        self._next = 0  # the number of the item that comes next
        self._items: Iterator[Any] | None = None

    def read(self, piece: Slice, opened: Callable[[], Iterator[T]]) -> Iterator[tuple[int, T]]:
        """The piece's items with their numbers from 0, read on from the last piece where it can be.

        Args:
            opened: gives the file's items from the first.
        """
        items, number = self._items, self._next
        if items is None or self._file != (piece.path, piece.stamp) or number > piece.start:
            items, number = opened(), 0
        # Nobody reads on from a piece that was given up half-way.
        self._items = None
        while number < piece.stop:
            try:
                item = next(items)
            except StopIteration:
                return
            if number >= piece.start:
                yield number, item
            number += 1
        self._file, self._next, self._items = (piece.path, piece.stamp), number, items
