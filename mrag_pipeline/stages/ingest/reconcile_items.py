"""The items of the reconcile phase: they read shards, and give what no shard alone can judge.

`ReadShards` reads every shard once: 8 bytes a document and a chunk come back, sorted, and the sums
of each shard. The others are only for shards that hold what is found twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.ports import DocumentRow, Staging
from mrag_pipeline.stages.ingest.key_runs import Keys
from mrag_pipeline.stages.ingest.read_ahead import THREADS, read_ahead
from mrag_pipeline.stages.staged_receipts import not_staged

# Of the source of an item's shards, which is about what it reads; and how many shards at most:
ITEM_BYTES = 128_000_000
ITEM_SHARDS = THREADS
# And at most this part of the shards that are left. So the last items are small, and no worker
# waits long for another's; the first ones are not, for an item costs a driver with Ray 2 ms of CPU.
ITEM_PART = 1 / 6


@dataclass(frozen=True, slots=True)
class ReadShards:
    """Read some shards, in corpus order."""

    index: int
    shards: tuple[int, ...]
    num_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class ShardsRead:
    """What they hold, documents and chunks that will be left out included."""

    index: int
    num_documents: int
    num_dead_letters: int
    document_keys: Keys  # of the ids of all their documents, rising
    chunk_ids: Keys  # of all their chunks, rising
    sums: tuple[ImportanceSums, ...]  # of each shard

    @property
    def num_rows(self) -> int:
        """Documents and chunks."""
        return self.num_documents + len(self.chunk_ids)


@dataclass(frozen=True, slots=True, eq=False)
class FindDocuments:
    """Find the documents whose ids have one of these keys."""

    index: int
    shards: tuple[int, ...]
    num_bytes: int
    keys: Keys


@dataclass(frozen=True, slots=True, eq=False)
class DocumentsFound:
    """They, each with its shard, in corpus order."""

    index: int
    documents: Sequence[tuple[int, DocumentRow]]

    @property
    def num_rows(self) -> int:
        """Documents."""
        return len(self.documents)


@dataclass(frozen=True, slots=True)
class ReadLeftOut:
    """Read what is left out of some shards, once that is stored."""

    index: int
    shards: tuple[int, ...]
    num_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """The chunks that are left out."""

    index: int
    chunk_ids: Keys  # rising
    sums: tuple[ImportanceSums, ...]  # of them, for each shard

    @property
    def num_rows(self) -> int:
        """Chunks."""
        return len(self.chunk_ids)


ReconcileItem = ReadShards | FindDocuments | ReadLeftOut


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Does the items of a version's reconciliation."""

    manifest: Manifest
    staging: Staging
    threads: int = THREADS  # that read shards

    def __call__(self, item: ReconcileItem) -> ShardsRead | DocumentsFound | LeftOut:
        """What the item asks for.

        Raises: StagingError if a shard is missing.
        """
        if isinstance(item, ReadShards):
            shards = list(read_ahead(self._read, item.shards, self.threads))
            return ShardsRead(
                item.index,
                sum(shard.num_documents for shard in shards),
                sum(shard.num_dead_letters for shard in shards),
                _sorted([shard.document_keys for shard in shards]),
                _sorted([shard.chunk_ids for shard in shards]),
                tuple(shard.sums for shard in shards),
            )
        if isinstance(item, FindDocuments):
            found = read_ahead(
                lambda shard: self._documents(shard, item.keys), item.shards, self.threads
            )
            return DocumentsFound(item.index, [row for rows in found for row in rows])
        left_out = list(read_ahead(self._left_out, item.shards, self.threads))
        ids, sums = _sorted([ids for ids, _ in left_out]), tuple(sums for _, sums in left_out)
        return LeftOut(item.index, ids, sums)

    def left_out_sums(self, shard: int) -> ImportanceSums:
        """The sums of what is left out of the shard."""
        return ImportanceSums.of(self.staging.duplicate_vectors(shard))

    def _read(self, shard: int) -> _Shard:
        receipt = self.staging.receipt(shard, self.manifest.fingerprint)
        if receipt is None:
            raise not_staged(shard, self.staging)
        return _Shard(
            receipt.num_documents,
            receipt.num_dead_letters,
            _keys_of(self.staging.documents(shard)),
            self.staging.all_chunk_ids(shard),
            self.staging.sums(shard),
        )

    def _documents(self, shard: int, keys: Keys) -> list[tuple[int, DocumentRow]]:
        rows = self.staging.documents(shard)
        return [(shard, rows[row]) for row in np.flatnonzero(np.isin(_keys_of(rows), keys))]

    def _left_out(self, shard: int) -> tuple[NDArray[np.int64], ImportanceSums]:
        return self.staging.duplicate_chunk_ids(shard), self.left_out_sums(shard)


@dataclass(frozen=True, slots=True, eq=False)
class _Shard:
    num_documents: int
    num_dead_letters: int
    document_keys: Keys
    chunk_ids: NDArray[np.int64]
    sums: ImportanceSums


def reconcile_items(manifest: Manifest) -> Iterator[ReadShards]:
    """Every shard of the plan in one item, in order."""
    held: list[int] = []
    num_bytes = index = 0
    num_left = len(manifest.shards)  # that no item has yet
    for shard in manifest.shards:
        held.append(shard.index)
        num_bytes += shard.num_bytes
        most = max(1, min(ITEM_SHARDS, int(num_left * ITEM_PART)))
        if num_bytes >= ITEM_BYTES or len(held) >= most or len(held) == num_left:
            yield ReadShards(index, tuple(held), num_bytes)
            num_left -= len(held)
            held, num_bytes, index = [], 0, index + 1


def _keys_of(documents: Sequence[DocumentRow]) -> Keys:
    return np.array([text_key(row.id) for row in documents], np.uint64)


def _sorted(parts: Sequence[NDArray[np.uint64] | NDArray[np.int64]]) -> Keys:
    """All of them, rising."""
    keys = np.concatenate([part.astype(np.uint64) for part in parts])
    keys.sort()
    return keys
