"""One item of the reconcile phase: reads some shards and gives what no shard alone can judge.

What comes back is 8 bytes a document, then 8 bytes a chunk and the sums of each shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import Staging
from mrag_pipeline.stages.ingest.read_ahead import THREADS, read_ahead

# Of the source of an item's shards, which is about what it reads; and how many shards at most:
ITEM_BYTES = 128_000_000
ITEM_SHARDS = THREADS
ITEMS = 16  # fewer, so that there are so many items: with five, two workers do three and two


@dataclass(frozen=True, slots=True)
class ReconcileItem:
    """Read some shards, in corpus order."""

    index: int
    shards: tuple[int, ...]
    num_bytes: int
    is_of_documents: bool  # or, once it is stored which of them are left out, of their chunks


@dataclass(frozen=True, slots=True, eq=False)
class DocumentKeys:
    """The documents that a shard took."""

    shard: int
    keys: NDArray[np.uint64]  # of their ids, in order
    num_documents: int
    num_dead_letters: int

    @property
    def num_rows(self) -> int:
        """Documents."""
        return self.num_documents


@dataclass(frozen=True, slots=True, eq=False)
class KeptChunks:
    """What is not left out of a shard."""

    shard: int
    sums: ImportanceSums
    ids: NDArray[np.int64]

    @property
    def num_rows(self) -> int:
        """Chunks."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Does the items of a version's reconciliation."""

    manifest: Manifest
    staging: Staging
    threads: int = THREADS  # that read shards

    def __call__(self, item: ReconcileItem) -> list[DocumentKeys] | list[KeptChunks]:
        """One answer for each shard, in order.

        Raises: StagingError if a shard is missing.
        """
        if item.is_of_documents:
            return list(read_ahead(self._document_keys, item.shards, self.threads))
        return list(read_ahead(self.kept_chunks, item.shards, self.threads))

    def _document_keys(self, shard: int) -> DocumentKeys:
        receipt = self.staging.receipt(shard, self.manifest.fingerprint)
        if receipt is None:
            raise StagingError(
                f"shard {shard} is not staged in {self.staging.describe()}",
                "a receipt for every shard",
                "run `mrag ingest` again: it embeds what is missing",
            )
        keys = np.array([text_key(row.id) for row in self.staging.documents(shard)], np.uint64)
        return DocumentKeys(shard, keys, receipt.num_documents, receipt.num_dead_letters)

    def kept_chunks(self, shard: int) -> KeptChunks:
        """The sums and chunk ids of what is not left out."""
        sums = self.staging.sums(shard)
        if shard in (self.staging.duplicates() or {}):
            sums = sums - ImportanceSums.of(self.staging.duplicate_vectors(shard))
        return KeptChunks(shard, sums, self.staging.chunk_ids(shard))


def reconcile_items(manifest: Manifest, is_of_documents: bool) -> Iterator[ReconcileItem]:
    """Every shard of the plan in one item, in order."""
    held: list[int] = []
    num_bytes = index = 0
    last = len(manifest.shards) - 1
    most = max(1, min(ITEM_SHARDS, len(manifest.shards) // ITEMS))
    for number, shard in enumerate(manifest.shards):
        held.append(shard.index)
        num_bytes += shard.num_bytes
        if num_bytes >= ITEM_BYTES or len(held) >= most or number == last:
            yield ReconcileItem(index, tuple(held), num_bytes, is_of_documents)
            held, num_bytes, index = [], 0, index + 1
