"""Caches chunk-to-document lookups; rows may be deleted, so re-read any row you show.

A chunk's document never changes. A cached one may still count the votes of a row that was deleted,
which docs/decisions/0046 bounds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from mrag_pipeline.ports import ChunkLookup, ChunkRow

_Documents = dict[tuple[str, int], str]  # by collection and chunk id


class DocumentCache:
    """Looks up a chunk's document again only after a while. Thread-safe."""

    def __init__(
        self,
        index: ChunkLookup,
        seconds: float = 60.0,
        max_chunks: int = 200_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts empty.

        Args:
            seconds: an entry is used for no longer.
            max_chunks: entries, about 200 bytes each.
        """
        self._index = index
        self._seconds = seconds
        self._max_chunks = max_chunks
        self._clock = clock
        # Two generations: entries of this half of the time, and of the half before.
        self._new: _Documents = {}
        self._old: _Documents = {}
        self._next_turn = clock() + seconds / 2
        self._lock = threading.Lock()

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """The document of each row that exists or did a while ago, and rows of the likely ones."""
        new, old = self._generations()
        cached: dict[int, str] = {}
        missing: list[int] = []
        for chunk_id in dict.fromkeys(ids):
            key = (collection, chunk_id)
            document = new.get(key) or old.get(key)
            if document is None:
                missing.append(chunk_id)
            else:
                cached[chunk_id] = document
        read, rows = self._index.look_up(collection, missing, likely)
        new.update({(collection, chunk_id): document for chunk_id, document in read.items()})
        return cached | read, rows

    def forget(self) -> None:
        """Empties the cache."""
        with self._lock:
            self._new, self._old = {}, {}

    def _generations(self) -> tuple[_Documents, _Documents]:
        with self._lock:
            time_now = self._clock()
            if time_now >= self._next_turn or len(self._new) >= self._max_chunks // 2:
                # After a longer pause the new entries are too old as well.
                all_too_old = time_now >= self._next_turn + self._seconds / 2
                self._old = {} if all_too_old else self._new
                self._new = {}
                self._next_turn = time_now + self._seconds / 2
            return self._new, self._old
