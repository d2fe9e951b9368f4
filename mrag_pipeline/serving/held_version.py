"""Holds the vectors of the version that is searched in memory, where they are few enough.

They are read in the background, and used as long as the version's record is the one that they were
read under: a sync says so in the record before it changes a row (docs/decisions/0046, 0115).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import ServedIndex
from mrag_pipeline.query.held_vectors import HeldVectors, held_bytes

log = logging.getLogger(__name__)

# A repair changes rows without a word in the record: the rows are counted again after so long.
CHECKED_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    state: str
    vectors: HeldVectors | None  # None: they could not be read
    checked_at: float


class HeldVersion:
    """The vectors of one version at a time. Threads may share it."""

    def __init__(
        self,
        index: ServedIndex,
        max_bytes: float,
        clock: Callable[[], float] = time.monotonic,
        background: Executor | None = None,
    ) -> None:
        """Holds nothing yet.

        Args:
            max_bytes: versions whose vectors take more are left to the index.
            background: reads and counts; None: a thread of its own.
        """
        self._index = index
        self._max_bytes = max_bytes
        self._clock = clock
        self._background = background or ThreadPoolExecutor(1, "hold-vectors")
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._is_reading = False

    def vectors(self, record: VersionRecord) -> HeldVectors | None:
        """The version's vectors if they are held; otherwise they are read meanwhile."""
        if record.pending or not 0 < held_bytes(record) <= self._max_bytes:
            return None
        state = state_of(record)
        with self._lock:
            held = self._held
            is_current = held is not None and held.state == state
            is_due = held is None or self._clock() - held.checked_at >= CHECKED_S
            if not self._is_reading and (is_due or not is_current):
                self._is_reading = True
                self._background.submit(self._read, record, state)
        return held.vectors if held is not None and is_current else None

    def close(self) -> None:
        """Stops the background thread."""
        self._background.shutdown(wait=False, cancel_futures=True)

    def _read(self, record: VersionRecord, state: str) -> None:
        """Holds the version's vectors, unless those that are held are as many as it has."""
        started = time.perf_counter()
        held, vectors = self._held, None
        try:
            if held is not None and held.state == state and held.vectors is not None:
                vectors = held.vectors if held.vectors.is_complete(self._index) else None
            if vectors is None:
                read = HeldVectors.read(self._index, record)
                record_after = self._index.record(record.version)
                if record_after is not None and state_of(record_after) == state:
                    vectors = read
                    log.info(
                        "vectors_held version=%s mb=%.0f seconds=%.1f",
                        record.version,
                        held_bytes(record) / 2**20,
                        time.perf_counter() - started,
                    )
        except MragError as error:
            log.warning("vectors_not_held version=%s error=%s", record.version, error.found)
        finally:
            with self._lock:
                self._held = _Held(state, vectors, self._clock())
                self._is_reading = False


def state_of(record: VersionRecord) -> str:
    """Changes whenever a sync changes rows of the version, and before it does."""
    return f"{record.version} {record.syncs} {record.pending} {record.num_chunks}"
