"""Finds keys that are there more than once when there are more keys than fit in memory.

Whoever reads a part of the corpus sorts its keys: a run. In each run a range of numbers is one
piece, so a range is searched by itself: its pieces are read from the file and sorted together. Keys
are hashes, so each of 256 equally wide ranges has about a 256th of them. Memory: some times
`keys_in_memory` keys, or ranges; disk: 8 bytes a key, and 2 KB a run. So runs should be long.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.stages.free_space import no_space
from mrag_pipeline.stages.ingest.read_ahead import read_ahead
from mrag_pipeline.stages.sorted_ids import temporary_file

Keys = NDArray[np.uint64]

NUM_RANGES = 256
THREADS = 2  # that sort, which numpy does without Python's lock; meanwhile no worker has an item
_HEAD_BYTES = 8 * (NUM_RANGES + 1)  # of a run: where each of its ranges ends, counted in keys


class KeyRuns:
    """Sorted runs of keys, each with its owner's number."""

    def __init__(self, bits: int, keys_in_memory: int, what: str) -> None:
        """Starts empty; its file is on disk only once it has more than `keys_in_memory` keys.

        Args:
            bits: of a key: 8 to 64. Keys that have more are found too, but share one range.
            what: the keys are, for the message of a full disk.
        """
        self._bounds = np.arange(1, NUM_RANGES, dtype=np.uint64) << np.uint64(bits - 8)
        self._limit = keys_in_memory
        self._what = what
        self._file = temporary_file(8 * keys_in_memory)
        self._runs: list[tuple[int, int]] = []  # an owner, and where the run begins in the file
        self._lengths = np.zeros(NUM_RANGES, np.int64)  # keys of each range, of all runs

    def close(self) -> None:
        """Removes the file."""
        with suppress(OSError):  # a full disk, again: nothing is kept
            self._file.close()

    def add(self, owner: int, keys: Keys) -> None:
        """Adds a run (N,), rising; a key may be there more than once.

        Raises: StorageFull.
        """
        ends = np.zeros(NUM_RANGES + 1, np.int64)
        ends[1:-1], ends[-1] = np.searchsorted(keys, self._bounds), len(keys)
        with no_space(tempfile.gettempdir(), self._what):
            self._runs.append((owner, self._file.seek(0, os.SEEK_END)))
            self._file.write(ends.data)
            self._file.write(np.ascontiguousarray(keys).data)
            self._file.flush()
        self._lengths += np.diff(ends)

    def repeated(self, without: KeyRuns | None = None) -> Iterator[tuple[int, Keys]]:
        """Who has the keys that are there more than once: an owner, and such keys of it (n,).

        The keys are rising, each once. An owner comes once for each part of the ranges that has
        such a key of it.

        Args:
            without: keys of as many bits; each of them takes away one that is equal.
        """
        parts = (
            (self._pieces(*part), [] if without is None else without._pieces(*part))
            for part in self._parts()
        )
        for found in read_ahead(_repeated, parts, THREADS):
            for run, keys in found:
                yield self._runs[run][0], keys

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Ranges that are searched together: as many as fit in memory, one at least.

        Yields: the number of the first, and that after the last.
        """
        first = 0
        while first < NUM_RANGES:
            lengths = np.cumsum(self._lengths[first:])
            last = first + max(1, int(np.searchsorted(lengths, self._limit, "right")))
            yield first, last
            first = last

    def _pieces(self, first: int, last: int) -> list[Keys]:
        """Of each run, its keys (n,) in these ranges, rising."""
        return [self._piece(start, first, last) for _, start in self._runs]

    def _piece(self, start: int, first: int, last: int) -> Keys:
        self._file.seek(start + 8 * first)
        ends = np.frombuffer(self._file.read(8 * (last - first + 1)), np.int64)
        self._file.seek(start + _HEAD_BYTES + 8 * int(ends[0]))
        return np.frombuffer(self._file.read(8 * int(ends[-1] - ends[0])), np.uint64)


def _repeated(part: tuple[list[Keys], list[Keys]]) -> list[tuple[int, Keys]]:
    """Which runs have which keys that are there more than once.

    Args:
        part: pieces of all runs, and of those whose keys take some away.
    """
    runs, others = part
    keys = _sorted(runs)
    is_again = keys[1:] == keys[:-1]
    if not is_again.any():
        return []
    again, away = np.unique(keys[1:][is_again]), _sorted(others)
    again = again[_counts(keys, again) - _counts(away, again) > 1]
    owned = [(number, again[_counts(run, again) > 0]) for number, run in enumerate(runs)]
    return [(number, own) for number, own in owned if len(own)]


def _sorted(pieces: list[Keys]) -> Keys:
    keys = np.concatenate([np.zeros(0, np.uint64), *pieces])
    keys.sort(kind="stable")  # it merges what is rising already: a third of the time
    return keys


def _counts(keys: Keys, wanted: Keys) -> NDArray[np.int64]:
    """(n,) how often each of the wanted (n,) is among the keys (N,), which are rising."""
    counts: NDArray[np.int64] = np.searchsorted(keys, wanted, "right") - np.searchsorted(
        keys, wanted
    )
    return counts
