"""The items that apply a sync: they read what it adds and removes, and write and delete rows.

An item that writes a shard adds its rows to the heads first, then to the words, and to the chunks
rows last; one that deletes begins with the chunks rows. So wherever it ends, no reader finds a
chunk that a head lacks. Every item may be done again: rows are replaced and deleted by their ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.proofs import PROOF, UNPROVEN
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.ports import DeltaStaging, VersionRows
from mrag_pipeline.stages.ingest.load import collections_of
from mrag_pipeline.stages.ingest.load_items import row_bytes
from mrag_pipeline.stages.sorted_ids import SortedIds
from mrag_pipeline.stages.thread_pool import Stopped

if TYPE_CHECKING:
    import pyarrow as pa

SUMS_IDS = 20_000  # of an item that reads the vectors of what is removed
DELETED_IDS = 20_000  # of an item: after each, every collection is waited for
_BLOCK_ROWS = 2_000  # vectors of all heads read at a time: 3 MB for 12 heads of 32 numbers

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AddedItem:
    """Read the ids and sums of a shard, and look up which of the ids the index has."""

    index: int
    shard: int
    num_bytes: int
    looks_up: bool


@dataclass(frozen=True, slots=True, eq=False)
class SumsItem:
    """Add up the vectors of chunks of the index."""

    index: int
    ids: Ids
    num_bytes: int


@dataclass(frozen=True, slots=True)
class WriteItem:
    """Add a shard's rows to all collections."""

    index: int
    shard: int
    num_bytes: int
    is_repeated: bool  # an earlier run may have written them


@dataclass(frozen=True, slots=True, eq=False)
class DeleteItem:
    """Delete the rows of these chunks from all collections."""

    index: int
    ids: Ids
    num_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class AddedChunks:
    """What a shard adds, without the documents that are left out."""

    index: int  # the item's
    ids: Ids
    taken: Ids  # those that the index has, of an item that looks up
    sums: ImportanceSums


@dataclass(frozen=True, slots=True, eq=False)
class StoredSums:
    """The sums over chunks of the index."""

    index: int  # the item's
    sums: ImportanceSums


class Applier:
    """Does the items of one sync."""

    def __init__(self, record: VersionRecord, staging: DeltaStaging, index: VersionRows) -> None:
        """Reads nothing yet.

        Args:
            record: the version's; staging: of its next sync.
        """
        self._record = record
        self._staging = staging
        self._index = index
        *self._voters, self._chunks = collections_of(
            record.index, record.version, record.encoder, record.lexical
        )
        self._is_stopped = False

    @property
    def row_bytes(self) -> int:
        """Of a chunk in all collections, roughly."""
        return sum(map(row_bytes, (*self._voters, self._chunks)))

    def __call__(
        self, item: AddedItem | SumsItem | WriteItem | DeleteItem
    ) -> AddedChunks | StoredSums | bool:
        """What the item asks for; of one that changes rows, whether it had to.

        Raises: StagingError; VerifyFailed if a head lacks a row to be removed; IndexBusy,
            IndexUnavailable; Stopped after `stop`.
        """
        if isinstance(item, AddedItem):
            return self._added(item)
        if isinstance(item, SumsItem):
            return StoredSums(item.index, self._sums(item.ids.tolist()))
        return self._write(item) if isinstance(item, WriteItem) else self._delete(item)

    def stop(self) -> None:
        """Items in other threads end before their next change."""
        self._is_stopped = True

    def _added(self, item: AddedItem) -> AddedChunks:
        staging = self._staging
        ids = staging.chunk_ids(item.shard)
        taken: list[int] = []
        if item.looks_up:
            # By id, not by looking through the index: what that costs depends on the sync alone.
            taken = list(self._index.look_up(self._chunks.name, ids.tolist(), ())[0])
        sums = staging.sums(item.shard)
        if (staging.duplicates() or {}).get(item.shard):
            sums = sums - ImportanceSums.of(staging.duplicate_vectors(item.shard))
        return AddedChunks(item.index, ids, np.array(taken, np.int64), sums)

    def _sums(self, ids: Sequence[int]) -> ImportanceSums:
        card = self._record.encoder
        sums = ImportanceSums.zero(len(card.heads), card.head_dim)
        for start in range(0, len(ids), _BLOCK_ROWS):
            block = ids[start : start + _BLOCK_ROWS]
            vectors = np.empty((len(block), len(card.heads), card.head_dim), np.float32)
            for head, collection in enumerate(self._record.head_collections()):
                by_id = self._index.vectors(collection, block)
                num_missing = len(block) - len(by_id)
                if num_missing:
                    raise VerifyFailed(
                        f"{collection} lacks {num_missing} of the rows to be removed",
                        "every chunk in every head",
                        "run `mrag audit`, then `mrag repair`",
                    )
                vectors[:, head] = [by_id[chunk_id] for chunk_id in block]
            sums = sums + ImportanceSums.of(vectors)
        return sums

    def _write(self, item: WriteItem) -> bool:
        staging, heads = self._staging, self._record.encoder.heads
        if item.is_repeated and self._is_written(staging.chunks(item.shard)):
            return False
        for head, collection in zip(heads, self._voters[: len(heads)], strict=True):
            self._check_stopped()
            self._index.upsert(collection, staging.head(item.shard, head))
        chunks = staging.chunks(item.shard)
        # The words if there are any; the chunks rows last: they commit.
        for collection in (*self._voters[len(heads) :], self._chunks):
            self._check_stopped()
            self._index.upsert(collection, chunks)
        return True

    def _is_written(self, chunks: pa.Table) -> bool:
        """Whether the chunks rows are those of the shard: then all its rows were written."""
        columns: dict[str, list[Any]] = chunks.select(["chunk_id", PROOF]).to_pydict()
        ids, proofs = columns["chunk_id"], columns[PROOF]
        stored = self._index.proofs(self._chunks.name, ids)
        return all(
            proof != UNPROVEN and stored.get(chunk_id) == proof
            for chunk_id, proof in zip(ids, proofs, strict=True)
        )

    def _delete(self, item: DeleteItem) -> bool:
        ids = item.ids.tolist()
        for collection in (self._chunks, *self._voters):
            self._check_stopped()
            self._index.delete(collection.name, ids)
        return True

    def _check_stopped(self) -> None:
        if self._is_stopped:
            raise Stopped


def added_items(manifest: Manifest, looks_up: bool) -> Iterator[AddedItem]:
    """One for each shard, in order."""
    for number, shard in enumerate(manifest.shards):
        yield AddedItem(number, shard.index, shard.num_bytes, looks_up)


def sums_items(ids: SortedIds, row_bytes: int) -> Iterator[SumsItem]:
    """The chunks in blocks, in order.

    Args:
        row_bytes: of a chunk's vectors.
    """
    for number, block in enumerate(ids.blocks(SUMS_IDS)):
        yield SumsItem(number, block.ids(), len(block) * row_bytes)


def num_sums_items(ids: SortedIds) -> int:
    """How many `sums_items` there are."""
    return -(-len(ids) // SUMS_IDS)


def write_items(manifest: Manifest, is_repeated: bool) -> Iterator[WriteItem]:
    """One for each shard, in order."""
    for number, shard in enumerate(manifest.shards):
        yield WriteItem(number, shard.index, shard.num_bytes, is_repeated)


def delete_items(ids: SortedIds) -> Iterator[DeleteItem]:
    """The chunks in blocks, in order."""
    for number, block in enumerate(ids.blocks(DELETED_IDS)):
        yield DeleteItem(number, block.ids(), 8 * len(block))


def num_delete_items(ids: SortedIds) -> int:
    """How many `delete_items` there are."""
    return -(-len(ids) // DELETED_IDS)


def may_double(item: AddedItem | SumsItem | WriteItem | DeleteItem) -> bool:
    """Whether two workers may do the item at once."""
    return not isinstance(item, WriteItem)
