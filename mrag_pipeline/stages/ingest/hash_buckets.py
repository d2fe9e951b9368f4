"""Finds rows with equal keys when there are more rows than fit in memory.

Equal keys share a bucket of the spilled rows, so each is searched on its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.stages.spilled_rows import SpilledRows

Keys = NDArray[np.uint64]
Positions = NDArray[np.int64]  # (n, 2): a shard, and a row of it

_ROW = np.dtype([("key", np.uint64), ("shard", np.int64), ("row", np.int64)])


class HashBuckets:
    """Rows of a key and a position; a bucket is a remainder of keys, so keys should be hashes."""

    def __init__(self, rows_in_memory: int) -> None:
        """Starts empty; writes to disk only once more than `rows_in_memory` rows are held."""
        what = "the ids of documents or chunks"
        self._rows = SpilledRows(_ROW, _last_byte, rows_in_memory, what)
        self._num_rows = 0

    def close(self) -> None:
        """Lets go of its temporary files."""
        self._rows.close()

    def add(self, shard: int, keys: Keys) -> None:
        """Adds the keys of a shard's rows, in order.

        Raises: StorageFull.
        """
        rows = np.empty(len(keys), _ROW)
        rows["key"], rows["shard"], rows["row"] = keys, shard, np.arange(len(keys))
        self._num_rows += len(rows)
        self._rows.add(rows)

    def repeated(self) -> Iterator[tuple[Keys, Positions]]:
        """The rows that share their key with another row, bucket by bucket; none is empty.

        A bucket is sorted by key, shard and row, in whatever order the shards were added.
        """
        for rows in self._rows.buckets():
            in_order = np.sort(rows["key"])
            repeated_keys = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
            if len(repeated_keys):
                rows = rows.compress(np.isin(rows["key"], repeated_keys))
                rows = rows.take(np.lexsort((rows["row"], rows["shard"], rows["key"])))
                yield rows["key"], np.stack([rows["shard"], rows["row"]], axis=1)

    def num_distinct(self) -> int:
        """How many different keys there are."""
        num_surplus = sum(len(keys) - len(np.unique(keys)) for keys, _ in self.repeated())
        return self._num_rows - num_surplus


def _last_byte(keys: Keys) -> NDArray[np.uint8]:
    return (keys % np.uint64(256)).astype(np.uint8)
