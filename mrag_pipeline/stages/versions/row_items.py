"""One item of an audit or a repair: rows of some chunks and their proofs; ids; searches; a shard.

An audit reads every file of a staged shard; a repair compares the rows of its chunks with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.proofs import UNPROVEN
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import MragError, StagingError
from mrag_pipeline.ports import AuditedVersion
from mrag_pipeline.stages.sorted_ids import IdBlock, SortedIds
from mrag_pipeline.stages.versions.row_checks import CheckedRows, check_rows, proofs_in
from mrag_pipeline.stages.versions.search_check import (
    searches_exactly,
    unsearchable_in,
)
from mrag_pipeline.stages.versions.search_recall import Recall, recall_in
from mrag_pipeline.stages.versions.staged_version import StagedChunks, StagedShard, StagedVersion
from mrag_pipeline.stages.versions.stored_rows import BLOCK_ROWS, row_bytes, staged_rows

_NO_KEYS = np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class RowsItem:
    """Check the rows of a block of chunks."""

    index: int
    block: IdBlock  # rising: a range of hashes
    unreadable: tuple[str, ...]  # collections that are left out
    num_bytes: int


@dataclass(frozen=True, slots=True)
class StagedRowsItem:
    """Check the rows of a staged shard's chunks: they should be what is staged."""

    index: int
    shard: StagedShard
    ids: IdSum  # of the chunks: a worker that has other ones has another folder at the same path
    num_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class RowsChecked:
    """What was found in a block, or in the chunks of a staged shard."""

    index: int
    num_chunks: int
    checked: CheckedRows
    documents: NDArray[np.uint64]  # the keys of those that have its chunks, each once
    shard: StagedShard | None = None
    is_here: bool = True  # whether the worker could read the shard

    @property
    def num_rows(self) -> int:
        """Chunks."""
        return self.num_chunks


@dataclass(frozen=True, slots=True)
class IdsItem:
    """Read all ids of a collection."""

    index: int
    collection: str
    num_bytes: int


@dataclass(frozen=True, slots=True)
class IdsRead:
    """What they add up to."""

    collection: str
    ids: IdSum


@dataclass(frozen=True, slots=True, eq=False)
class SearchItem:
    """Search a collection for chunks of a sample by their own vectors."""

    index: int
    collection: str
    drawn: NDArray[np.int64]
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Searched:
    """What the searches did not find; of approximate ones their recall."""

    collection: str
    unfound: list[int]
    recall: Recall | None


@dataclass(frozen=True, slots=True)
class ShardItem:
    """Read every staged file of a shard."""

    index: int
    shard: StagedShard
    num_bytes: int


@dataclass(frozen=True, slots=True)
class ShardRead:
    """What is wrong with one of its files."""

    shard: StagedShard
    is_here: bool  # whether the worker reaches the staging at all
    damage: str | None = None


Answer = RowsChecked | IdsRead | Searched | ShardRead
Item = RowsItem | StagedRowsItem | IdsItem | SearchItem | ShardItem


@dataclass(frozen=True, slots=True)
class RowChecker:
    """Does the items of a version's audit and repair."""

    record: VersionRecord
    index: AuditedVersion
    staged: StagedVersion | None  # proves chunks that have no proof in the index

    def __call__(self, item: Item) -> Answer:
        """What is found of the block's chunks, in the collection, or in the shard's files."""
        if isinstance(item, ShardItem):
            return self.shard(item.shard)
        if isinstance(item, StagedRowsItem):
            return self.staged_rows(item)
        if isinstance(item, IdsItem):
            sums = map(IdSum.of, self.index.ids(item.collection))
            return IdsRead(item.collection, sum(sums, start=IdSum()))
        return self.searched(item) if isinstance(item, SearchItem) else self.rows(item)

    def searched(self, item: SearchItem) -> Searched:
        """What is found of the sample."""
        if searches_exactly(self.record, self.index):
            unfound = unsearchable_in(self.index, item.collection, item.drawn)
            return Searched(item.collection, unfound, None)
        recall = recall_in(self.record, self.index, item.collection, item.drawn)
        return Searched(item.collection, [], recall)

    def rows(self, item: RowsItem) -> RowsChecked:
        """What is found of the block's chunks."""
        checked, documents = CheckedRows.nothing(self.record), _NO_KEYS
        ids, name = item.block.ids().tolist(), self.record.chunks_collection()
        if name not in item.unreadable:
            documents = check_rows(
                checked,
                self.record,
                self.index,
                ids,
                proofs_in(self.index, name, ids, self.staged),
                unreadable=item.unreadable,
            )
        return RowsChecked(item.index, len(ids), checked, documents)

    def staged_rows(
        self, item: StagedRowsItem, only: NDArray[np.int64] | None = None
    ) -> RowsChecked:
        """What is found of the shard's chunks, compared with what is staged.

        With what the index itself says of them, if the shard's file cannot be read.

        Args:
            only: those of its chunks that have these ids; None: all.
        """
        checked, keys = CheckedRows.nothing(self.record), [_NO_KEYS]
        chunks = self._staged_chunks(item)
        if chunks is None:
            return RowsChecked(item.index, 0, checked, _NO_KEYS, item.shard, is_here=False)
        if only is not None:
            chunks = chunks.of(only)
        for start in range(0, len(chunks.ids), BLOCK_ROWS):
            keys.append(self._compared(checked, chunks.between(start, start + BLOCK_ROWS)))
        documents = np.unique(np.concatenate(keys))
        is_here = chunks.table is not None
        return RowsChecked(item.index, len(chunks.ids), checked, documents, item.shard, is_here)

    def shard(self, shard: StagedShard) -> ShardRead:
        """Whether its files are there, and what was written."""
        if self.staged is None:
            return ShardRead(shard, is_here=False)
        try:
            self.staged.read(shard, self.record.encoder.heads)
        except MragError as error:
            return ShardRead(shard, is_here=True, damage=error.found)
        return ShardRead(shard, is_here=True)

    def _staged_chunks(self, item: StagedRowsItem) -> StagedChunks | None:
        """None if the shard is not here, or is another one."""
        if self.staged is None:
            return None
        try:
            chunks = self.staged.chunks(item.shard)
        except StagingError:  # of what a sync removed: the command itself has read it
            return None
        return None if chunks is None or IdSum.of(chunks.ids) != item.ids else chunks

    def _compared(self, checked: CheckedRows, chunks: StagedChunks) -> NDArray[np.uint64]:
        """Adds what is found of these chunks; returns the keys of their documents."""
        ids, name = chunks.ids.tolist(), self.record.chunks_collection()
        stored = self.index.proofs(name, ids)
        proofs = [
            staged if staged != UNPROVEN else stored.get(chunk_id, UNPROVEN)
            for chunk_id, staged in zip(ids, chunks.proofs, strict=True)
        ]
        # Collections of mrag 0.1 hold no proofs.
        checked.bad_proofs += [
            chunk_id
            for chunk_id, proof in zip(ids, proofs, strict=True)
            if stored.get(chunk_id, UNPROVEN) not in (UNPROVEN, proof)
        ]
        texts = None
        if chunks.table is not None and self.record.lexical is not None:
            texts = staged_rows(chunks.table)
        return check_rows(checked, self.record, self.index, ids, proofs, texts)


def ids_items(collections: Sequence[str], num_rows: int, first_number: int) -> list[IdsItem]:
    """One for each collection."""
    return [
        IdsItem(number, name, 8 * num_rows) for number, name in enumerate(collections, first_number)
    ]


def search_items(
    record: VersionRecord,
    drawn: NDArray[np.int64],
    num_rows: int,
    unreadable: Collection[str],
    first_number: int = 0,
) -> list[SearchItem]:
    """One for each collection of vectors, the chunks collection first.

    Args:
        drawn: the chunks that are searched for.
        num_rows: of each collection.
    """
    card = record.encoder
    widths = {record.chunks_collection(): card.standard_dim}
    widths |= dict.fromkeys(record.head_collections(), card.head_dim)
    wide = [(name, width) for name, width in widths.items() if name not in unreadable]
    return [
        SearchItem(number, name, drawn, 4 * width * num_rows)
        for number, (name, width) in enumerate(wide, first_number)
    ]


def shard_items(
    record: VersionRecord, staged: StagedVersion, first_number: int
) -> Iterator[ShardItem]:
    """One for each shard of staging."""
    num_bytes = row_bytes(record) * record.num_chunks // max(1, staged.num_shards())
    for number, shard in enumerate(staged.shards(), first_number):
        yield ShardItem(number, shard, num_bytes)


def staged_rows_items(
    record: VersionRecord, staged: StagedVersion, first_number: int
) -> Iterator[StagedRowsItem]:
    """One for each shard whose chunks are known."""
    for number, (shard, ids) in enumerate(staged.id_sums().items(), first_number):
        yield StagedRowsItem(number, shard, ids, ids.num_ids * row_bytes(record))


def rows_items(
    record: VersionRecord, ids: SortedIds, unreadable: Sequence[str], first_number: int = 0
) -> Iterator[RowsItem]:
    """The chunks in blocks, in order."""
    left_out = tuple(unreadable)
    for number, block in enumerate(ids.blocks(BLOCK_ROWS), first_number):
        yield RowsItem(number, block, left_out, len(block) * row_bytes(record))


def num_rows_items(ids: SortedIds) -> int:
    """How many `rows_items` there are."""
    return -(-len(ids) // BLOCK_ROWS)
