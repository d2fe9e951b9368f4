"""Which rows of a version's shards are left out, and by which documents.

Shape legend: N rows of a shard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.staging import tables
from mrag_pipeline.staging.staged_files import StagedFiles

CHUNKS = "chunks.parquet"
_DUPLICATES = "duplicates.parquet"


class LeftOutRows:
    """What reconcile has left out of the shards; what was read is kept until `forget`."""

    def __init__(self, files: StagedFiles) -> None:
        self._files = files
        self._documents: dict[int, list[DeadLetter]] | None = None
        # Packed masks, one bit a row, of the shards of which something is left out.
        self._packed_masks: dict[int, NDArray[np.uint8]] = {}

    def write(self, documents: Mapping[int, Sequence[DeadLetter]]) -> None:
        """Stores the documents, by shard, in place of those that are stored.

        Raises: StorageFull.
        """
        table = tables.duplicate_table(documents)
        self._files.write_table(_DUPLICATES, table)
        self._documents = tables.duplicates_of(table)
        self._packed_masks.clear()

    def documents(self) -> Mapping[int, Sequence[DeadLetter]] | None:
        """What `write` stored, None if nothing is stored yet."""
        if self._documents is None:
            table = self._files.read_table(_DUPLICATES)
            if table is None:
                return None
            self._documents = tables.duplicates_of(table)
        return self._documents

    def of_shard(self, shard: int) -> Sequence[DeadLetter]:
        """The shard's documents that are left out."""
        return (self.documents() or {}).get(shard, ())

    def kept(self, shard: int) -> NDArray[np.bool_] | None:
        """True for each row that stays, (N,); None if all do."""
        left_out = self.of_shard(shard)
        if not left_out:
            return None
        if shard not in self._packed_masks:
            ids = pa.array([letter.document_id for letter in left_out], pa.string())
            column = self._files.read_shard_table(shard, CHUNKS, ["document_id"])["document_id"]
            self._packed_masks[shard] = np.packbits(~pc.is_in(column, value_set=ids).to_numpy())
        num_chunks = self._files.receipt(shard).num_chunks
        return np.unpackbits(self._packed_masks[shard], count=num_chunks).astype(bool)

    def forget(self) -> None:
        """The folder is gone: so is what was read of it."""
        self._documents = None
        self._packed_masks.clear()
