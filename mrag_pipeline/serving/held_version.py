"""Holds the vectors of the version that is searched in memory, if they are few enough.

They are read in the background, and used as long as the version's record says that no row has
changed since: a sync and a repair write this before they change a row (docs/decisions/0046, 0115).
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
from mrag_pipeline.query.held_vectors import HeldVectors, held_bytes, lost_rows

log = logging.getLogger(__name__)

# Rows can be lost without a word in the record: they are counted again after this time.
CHECKED_S = 60.0
# After a read, the next one waits for this many times its duration: a corpus that is synced all
# the time is left to the index.
REST = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    state: str
    vectors: HeldVectors | None  # None: they could not be read
    counted_at: float  # when it was last known to have all its rows
    checked_at: float  # when that was last asked, whatever came of it


class HeldVersion:
    """The vectors of one version at a time. Threads may share it."""

    def __init__(
        self,
        index: ServedIndex,
        max_bytes: float,
        clock: Callable[[], float] = time.monotonic,
        background: Executor | None = None,
        pauses: float = 0.0,
    ) -> None:
        """Holds nothing yet.

        Args:
            max_bytes: a version that takes more is left to the index.
            pauses: after each block that is read, wait for this many times its duration: for an
                index in this process, whose searches a read holds up.
            background: reads and counts; None: a thread of its own.
        """
        self._index = index
        self._max_bytes = max_bytes
        self._clock = clock
        self._pauses = pauses
        self._background = background or ThreadPoolExecutor(1, "hold-vectors")
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._is_reading = False
        self._rests_until = 0.0  # no version is read before
        self._closed = threading.Event()

    def vectors(self, record: VersionRecord) -> HeldVectors | None:
        """The version's vectors if they are held; otherwise they are read meanwhile."""
        state, now = state_of(record), self._clock()
        with self._lock:
            if self._closed.is_set():
                return None
            if record.is_changing() or not 0 < held_bytes(record) <= self._max_bytes:
                self._held = None
                return None
            held = self._held
            if held is None or held.state != state:
                # Let go of before others are read, so that memory never holds both.
                held = self._held = None
            is_due = held is None or now - held.checked_at >= CHECKED_S
            is_read = held is not None and held.vectors is not None
            if is_due and not self._is_reading and (is_read or now >= self._rests_until):
                self._is_reading = True
                self._background.submit(self._check, record, state)
            is_usable = held is not None and now - held.counted_at < 2 * CHECKED_S
            return held.vectors if held is not None and is_usable else None

    def close(self) -> None:
        """Stops the background thread, also while it reads; nothing is held any more."""
        with self._lock:
            self._closed.set()
            self._held = None
        self._background.shutdown(wait=False, cancel_futures=True)

    def _check(self, record: VersionRecord, state: str) -> None:
        """Keeps vectors that are held if the version has all its rows; else reads them."""
        with self._lock:
            held = self._held
        vectors = held.vectors if held is not None and held.state == state else None
        counted_at = self._clock()
        try:
            try:
                # A version that lost rows is not read: its searches would be worse, silently.
                lost = lost_rows(self._index, record)
            except MragError as error:
                log.warning("rows_not_counted version=%s error=%s", record.version, error.found)
                counted_at = counted_at if held is None else held.counted_at
            else:
                vectors = self._whole(vectors, lost, record, state)
        except Exception:
            log.exception("vectors_not_held version=%s", record.version)
            vectors = None
        finally:
            with self._lock:
                self._is_reading = False
                if not self._closed.is_set():
                    self._held = _Held(state, vectors, counted_at, self._clock())

    def _whole(
        self, vectors: HeldVectors | None, lost: str | None, record: VersionRecord, state: str
    ) -> HeldVectors | None:
        """None if rows are lost, or cannot be read."""
        if lost is not None:
            log.warning("vectors_not_held version=%s error=%s", record.version, lost)
            return None
        if vectors is not None:
            return vectors
        try:
            return self._read(record, state)
        except MragError as error:
            log.warning("vectors_not_held version=%s error=%s", record.version, error.found)
            return None

    def _read(self, record: VersionRecord, state: str) -> HeldVectors | None:
        """None if rows changed meanwhile, or if it was closed.

        Raises: VerifyFailed, IndexBusy, IndexUnavailable.
        """
        started = self._clock()
        block_at = started

        def is_stopped() -> bool:
            nonlocal block_at
            if self._pauses:
                self._closed.wait(self._pauses * (self._clock() - block_at))
                block_at = self._clock()
            return self._closed.is_set()

        try:
            read = HeldVectors.read(self._index, record, is_stopped)
            if read is None:
                return None
            record_after = self._index.record(record.version)
        finally:
            seconds = self._clock() - started
            self._rests_until = self._clock() + REST * seconds
        if record_after is None or state_of(record_after) != state:
            return None
        megabytes = held_bytes(record) / 2**20
        log.info("vectors_held version=%s mb=%.0f seconds=%.1f", record.version, megabytes, seconds)
        return read


def state_of(record: VersionRecord) -> str:
    """Another one as soon as a sync or a repair is about to change rows, and at its end."""
    return (
        f"{record.version} {record.created_at} {record.syncs} {record.pending} {record.repairs} "
        f"{record.num_chunks}"
    )
