"""Keeps a file that can only be read from its start open where its last slice ended.

The k-th slice of a compressed file or a JSON array costs k slices of reading. A reader that takes
the slices in order, with a bookmark, reads the file once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.planning import Slice

T = TypeVar("T")


class Bookmark:
    """Holds at most one open file; not for use by several threads."""

    def __init__(self) -> None:
        self._file: tuple[str, str] | None = None
        self._next = 0  # the number of the next item
        self._items: Iterator[Any] | None = None
        self._head: tuple[str, str, bytes] | None = None  # of the file that was looked into last

    def head(self, file: SourceFile, read: Callable[[], bytes]) -> bytes:
        """The beginning of a file, read once for all slices of it that follow each other."""
        if self._head is None or self._head[:2] != (file.path, file.stamp):
            self._head = (file.path, file.stamp, read())
        return self._head[2]

    def read(self, piece: Slice, opened: Callable[[], Iterator[T]]) -> Iterator[tuple[int, T]]:
        """The slice's items with their numbers from 0, read on from the last slice if possible.

        Args:
            opened: returns the file's items from the first.
        """
        items, number = self._items, self._next
        if items is None or self._file != (piece.path, piece.stamp) or number > piece.start:
            items, number = opened(), 0
        # A slice that is abandoned half-way leaves no position to read on from.
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
