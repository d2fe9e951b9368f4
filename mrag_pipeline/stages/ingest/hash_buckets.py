"""Finds rows with equal keys when there are more rows than fit in memory.

Rows that do not fit are appended to files in the system's temporary folder, one for each bucket
of keys. Equal keys share a bucket, so each bucket, a 256th of the rows, is searched on its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.stages.free_space import no_space

Keys = NDArray[np.uint64]
Positions = NDArray[np.int64]  # (n, 2): a shard, and a row of it

_BUCKETS = 256
_ROW = np.dtype([("key", np.uint64), ("shard", np.int64), ("row", np.int64)])


class HashBuckets:
    """Rows of a key and a position; a bucket is a remainder of keys, so keys should be hashes."""

    def __init__(self, rows_in_memory: int) -> None:
        """Starts empty; writes to disk only once more than `rows_in_memory` rows are held."""
        self._limit = rows_in_memory
        self._held: list[NDArray[np.void]] = []
        self._num_held = 0
        self._num_rows = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> HashBuckets:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, shard: int, keys: Keys) -> None:
        """Adds the keys of a shard's rows, in order.

        Raises: StorageFull.
        """
        rows = np.empty(len(keys), _ROW)
        rows["key"], rows["shard"], rows["row"] = keys, shard, np.arange(len(keys))
        self._held.append(rows)
        self._num_held += len(rows)
        self._num_rows += len(rows)
        if self._num_held > self._limit:
            self._spill()

    def repeated(self) -> Iterator[tuple[Keys, Positions]]:
        """The rows that share their key with another row, bucket by bucket; none is empty.

        A bucket is sorted by key, shard and row, in whatever order the shards were added.
        """
        if self._folder is None:
            buckets: Iterator[NDArray[np.void]] = iter([self._taken()])
        else:
            self._spill()
            files = sorted(Path(self._folder.name).iterdir())
            buckets = (np.fromfile(file, _ROW) for file in files)
        for rows in buckets:
            in_order = np.sort(rows["key"])
            repeated_keys = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
            if len(repeated_keys):
                rows = rows[np.isin(rows["key"], repeated_keys)]
                rows = rows[np.lexsort((rows["row"], rows["shard"], rows["key"]))]
                yield rows["key"], np.stack([rows["shard"], rows["row"]], axis=1)

    def num_distinct(self) -> int:
        """How many different keys there are."""
        num_surplus = sum(len(keys) - len(np.unique(keys)) for keys, _ in self.repeated())
        return self._num_rows - num_surplus

    def _taken(self) -> NDArray[np.void]:
        rows = np.concatenate([np.empty(0, _ROW), *self._held])
        self._held.clear()
        self._num_held = 0
        return rows

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="mrag-ids-")
        rows = self._taken()
        # Numbers of one byte are sorted by counting them: four times as fast as of eight.
        bucket = (rows["key"] % np.uint64(_BUCKETS)).astype(np.uint8)
        rows = rows[np.argsort(bucket, kind="stable")]
        ends = np.cumsum(np.bincount(bucket, minlength=_BUCKETS))
        with no_space(self._folder.name, "the ids of documents or chunks"):
            for number, bucket_rows in enumerate(np.split(rows, ends[:-1])):
                if len(bucket_rows):
                    with Path(self._folder.name, f"{number:03d}").open("ab") as file:
                        file.write(bucket_rows.tobytes())
