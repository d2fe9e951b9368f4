"""The items that apply a sync: they read what it adds and removes, and write and delete rows.

An item that writes a shard adds its rows to the heads and the words first, and to the chunks rows
last; one that deletes begins with the chunks rows. So wherever it ends, no reader finds a chunk
that a head lacks. Every item may be done again: rows are replaced and deleted by their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.proofs import PROOF, UNPROVEN
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.ports import CollectionSpec, DeltaStaging, VersionRows
from mrag_pipeline.stages.ingest.read_ahead import read_ahead
from mrag_pipeline.stages.sorted_ids import SortedIds
from mrag_pipeline.stages.version_collections import collections_of

if TYPE_CHECKING:
    import pyarrow as pa

SUMS_IDS = 20_000  # of an item that reads the vectors of what is removed
DELETED_IDS = 20_000  # of an item: after each, every collection is waited for
_BLOCK_ROWS = 2_000  # vectors of all heads read at a time: 3 MB for 12 heads of 32 numbers

Ids = NDArray[np.int64]
T = TypeVar("T")


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

    @property
    def num_rows(self) -> int:
        """Chunks."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class StoredSums:
    """The sums over chunks of the index."""

    index: int  # the item's
    sums: ImportanceSums

    @property
    def num_rows(self) -> int:
        """Chunks."""
        return self.sums.num_chunks


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of an item that changes rows."""

    had_to_be: bool  # False: they were written already
    num_rows: int  # chunks that are written or deleted


class Applier:
    """Does the items of one sync."""

    def __init__(
        self,
        record: VersionRecord,
        staging: DeltaStaging,
        index: VersionRows,
        at_once: int | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            record: the version's.
            staging: of its next sync.
            at_once: how many collections an item changes at a time; None: as many as the index
                takes.
        """
        self._record = record
        self._staging = staging
        self._index = index
        *self._voters, self._chunks = collections_of(record)
        # A server takes about a second for a change, and for several at once no longer.
        self._at_once = index.capabilities().loads_at_once if at_once is None else at_once

    def __call__(
        self, item: AddedItem | SumsItem | WriteItem | DeleteItem
    ) -> AddedChunks | StoredSums | Changed:
        """What the item asks for.

        Raises: StagingError; VerifyFailed if a head lacks a row to be removed; IndexBusy,
            IndexUnavailable.
        """
        if isinstance(item, AddedItem):
            return self._added(item)
        if isinstance(item, SumsItem):
            return StoredSums(item.index, self._sums(item.ids.tolist()))
        return self._write(item) if isinstance(item, WriteItem) else self._delete(item)

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

            def read(head: int, block: Sequence[int] = block, into: Any = vectors) -> None:
                into[:, head] = self._vectors(self._voters[head].name, block)

            self._each(read, range(len(card.heads)))
            sums = sums + ImportanceSums.of(vectors)
        return sums

    def _vectors(self, collection: str, ids: Sequence[int]) -> list[NDArray[np.float32]]:
        by_id = self._index.vectors(collection, ids)
        num_missing = len(ids) - len(by_id)
        if num_missing:
            raise VerifyFailed(
                f"{collection} lacks {num_missing} of the rows to be removed",
                "every chunk in every head",
                "run `mrag audit`, then `mrag repair`",
            )
        return [by_id[chunk_id] for chunk_id in ids]

    def _write(self, item: WriteItem) -> Changed:
        chunks = self._staging.chunks(item.shard)
        if item.is_repeated and self._is_written(chunks):
            return Changed(False, chunks.num_rows)
        heads = dict(zip(self._record.head_collections(), self._record.encoder.heads, strict=True))

        def write(collection: CollectionSpec) -> None:
            head = heads.get(collection.name)
            rows = chunks if head is None else self._staging.head(item.shard, head)
            self._index.upsert(collection, rows)

        self._each(write, self._voters)
        # The chunks rows last: they commit.
        write(self._chunks)
        return Changed(True, chunks.num_rows)

    def _is_written(self, chunks: pa.Table) -> bool:
        """Whether the chunks rows are those of the shard: then all its rows were written."""
        columns: dict[str, list[Any]] = chunks.select(["chunk_id", PROOF]).to_pydict()
        ids, proofs = columns["chunk_id"], columns[PROOF]
        stored = self._index.proofs(self._chunks.name, ids)
        return all(
            proof != UNPROVEN and stored.get(chunk_id) == proof
            for chunk_id, proof in zip(ids, proofs, strict=True)
        )

    def _delete(self, item: DeleteItem) -> Changed:
        ids = item.ids.tolist()

        def delete(collection: CollectionSpec) -> None:
            self._index.delete(collection.name, ids)

        delete(self._chunks)
        self._each(delete, self._voters)
        return Changed(True, len(ids))

    def _each(self, do: Callable[[T], None], things: Iterable[T]) -> None:
        """Does it with each of them, several at a time if the index takes that."""
        if self._at_once < 2:
            for thing in things:
                do(thing)
            return
        for _ in read_ahead(do, things, self._at_once):
            pass


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
