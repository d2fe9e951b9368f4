"""Rows that do not fit in memory, in files of the system's temporary folder, by buckets.

A bucket is a number of one byte that depends on a row's key alone, so equal keys share one. If keys
are hashes, each bucket has about a 256th of the rows, and is worked on by itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.stages.free_space import no_space

NUM_BUCKETS = 256


class SpilledRows:
    """Rows of one type with a field `key`; writes to disk only what exceeds its limit."""

    def __init__(
        self,
        dtype: np.dtype[np.void],
        bucket: Callable[[NDArray[Any]], NDArray[np.uint8]],
        rows_in_memory: int,
        what: str,
    ) -> None:
        """Empty.

        Args:
            bucket: of each key.
            what: the rows are, for the message of a full disk.
        """
        self._dtype = dtype
        self._bucket = bucket
        self._limit = rows_in_memory
        self._what = what
        self._held: list[NDArray[np.void]] = []
        self._num_held = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def add(self, rows: NDArray[np.void]) -> None:
        """Adds rows (N,).

        Raises: StorageFull.
        """
        self._held.append(rows)
        self._num_held += len(rows)
        if self._num_held > self._limit:
            self._spill()

    def buckets(self) -> Iterator[NDArray[np.void]]:
        """All rows; those that were spilled by rising buckets, others at once. Can be repeated.

        Raises: StorageFull.
        """
        if self._folder is None:
            if self._held:
                yield self._rows()
            return
        self._spill()
        for file in sorted(Path(self._folder.name).iterdir()):
            yield np.fromfile(file, self._dtype)

    def close(self) -> None:
        """Removes the files."""
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def _rows(self) -> NDArray[np.void]:
        return np.concatenate([np.empty(0, self._dtype), *self._held])

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="mrag-rows-")
        rows = self._rows()
        self._held.clear()
        self._num_held = 0
        # Numbers of one byte are sorted by counting them: four times as fast as of eight.
        bucket = self._bucket(rows["key"])
        # `take` copies structured rows five times as fast as an index does.
        rows = rows.take(np.argsort(bucket, kind="stable"))
        ends = np.cumsum(np.bincount(bucket, minlength=NUM_BUCKETS))
        with no_space(self._folder.name, self._what):
            for number, bucket_rows in enumerate(np.split(rows, ends[:-1])):
                if len(bucket_rows):
                    with Path(self._folder.name, f"{number:03d}").open("ab") as file:
                        file.write(bucket_rows.tobytes())
