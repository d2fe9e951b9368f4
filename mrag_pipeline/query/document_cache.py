"""Which document a chunk is of, remembered for a while: it never changes, but a row may go.

So what is remembered may count votes of a row that is gone, never show it: whoever searches reads
the rows of what it shows. Docs/decisions/0046 has when that is allowed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.ports import ChunkRow, QueryIndex, Ranking, SearchRequest

_Known = dict[tuple[str, int], str]  # by collection and chunk id


class DocumentCache:
    """Looks up the document of a chunk again only after a while. Safe to share by threads."""

    def __init__(
        self,
        index: QueryIndex,
        seconds: float = 60.0,
        most: int = 200_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Knows nothing yet.

        Args:
            seconds: nothing is believed for longer.
            most: chunks that are remembered, about 200 bytes each.
        """
        self._index = index
        self._seconds = seconds
        self._most = most
        self._clock = clock
        # Two generations: what was read in this half of the time, and in the one before.
        self._new: _Known = {}
        self._old: _Known = {}
        self._turns_at = clock() + seconds / 2
        self._lock = threading.Lock()

    def search(self, requests: Sequence[SearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests."""
        return self._index.search(requests)

    def search_within(
        self, requests: Sequence[SearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """As `search`; None for what is not answered in time."""
        return self._index.search_within(requests, seconds)

    def matching(
        self,
        collection: str,
        wanted: Filter,
        ids: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> NDArray[np.int64]:
        """The ids of the rows that match, rising."""
        return self._index.matching(collection, wanted, ids, limit)

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """The rows that exist, by id."""
        return self._index.chunks(collection, ids)

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """The document of each row that exists or did a while ago, and rows of the likely ones."""
        new, old = self._generations()
        found = {one: new.get((collection, one)) or old.get((collection, one)) for one in ids}
        missing = [one for one, document in found.items() if document is None]
        read, rows = self._index.look_up(collection, missing, likely)
        new.update({(collection, one): document for one, document in read.items()})
        known = {one: document for one, document in found.items() if document is not None}
        return known | read, rows

    def forget(self) -> None:
        """Nothing is known any more."""
        with self._lock:
            self._new, self._old = {}, {}

    def _generations(self) -> tuple[_Known, _Known]:
        with self._lock:
            now = self._clock()
            if now >= self._turns_at or len(self._new) >= self._most // 2:
                # After a longer pause what was new is too old as well.
                late = now >= self._turns_at + self._seconds / 2
                self._old = {} if late else self._new
                self._new = {}
                self._turns_at = now + self._seconds / 2
            return self._new, self._old
