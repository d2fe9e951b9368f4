"""Counts different keys when there are more of them than fit in memory.

Equal keys share a bucket of the spilled rows, so each bucket is counted on its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.stages.spilled_rows import SpilledRows

Keys = NDArray[np.uint64]

_ROW = np.dtype([("key", np.uint64)])


class DistinctKeys:
    """Keys; a bucket is a remainder of them, so they should be hashes."""

    def __init__(self, keys_in_memory: int) -> None:
        """Starts empty; writes to disk only once more than `keys_in_memory` keys are held."""
        self._rows = SpilledRows(_ROW, _last_byte, keys_in_memory, "the ids of documents")

    def close(self) -> None:
        """Removes its temporary files."""
        self._rows.close()

    def add(self, keys: Keys) -> None:
        """Adds keys (N,), in any order.

        Raises: StorageFull.
        """
        # A copy: what came with an answer would keep all of it in memory.
        self._rows.add(np.array(keys, np.uint64).view(_ROW))

    def count(self) -> int:
        """How many different keys there are."""
        return sum(len(np.unique(rows["key"])) for rows in self._rows.buckets())


def _last_byte(keys: Keys) -> NDArray[np.uint8]:
    return (keys % np.uint64(256)).astype(np.uint8)
