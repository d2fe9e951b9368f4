"""One item of an audit: rows of some chunks, compared with their proofs; ids; searches; a shard."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import AuditedVersion
from mrag_pipeline.stages.sorted_ids import IdBlock, SortedIds
from mrag_pipeline.stages.versions.row_checks import CheckedRows, check_rows
from mrag_pipeline.stages.versions.search_check import (
    searches_exactly,
    unsearchable_in,
)
from mrag_pipeline.stages.versions.search_recall import Recall, recall_in
from mrag_pipeline.stages.versions.staged_version import StagedShard, StagedVersion
from mrag_pipeline.stages.versions.stored_rows import BLOCK_ROWS

_TEXT_BYTES = 1_000  # of a chunks row, beside its vector


@dataclass(frozen=True, slots=True, eq=False)
class RowsItem:
    """Check the rows of a block of chunks."""

    index: int
    block: IdBlock  # rising: a range of hashes
    unreadable: tuple[str, ...]  # collections that are left out
    num_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class RowsChecked:
    """What was found in a block."""

    index: int
    num_chunks: int
    checked: CheckedRows
    documents: NDArray[np.uint64]  # the keys of those that have its chunks, each once


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


@dataclass(slots=True)
class AuditAnswers:
    """Takes what is not of rows out of a pool's answers."""

    sums: dict[str, IdSum] = field(default_factory=dict)  # by collection
    searched: list[Searched] = field(default_factory=list)
    shards: dict[StagedShard, ShardRead] = field(default_factory=dict)

    def of_rows(self, answers: Iterable[Answer]) -> Iterator[RowsChecked]:
        """The others, as they come."""
        for answer in answers:
            if isinstance(answer, IdsRead):
                self.sums[answer.collection] = answer.ids
            elif isinstance(answer, Searched):
                self.searched.append(answer)
            elif isinstance(answer, ShardRead):
                self.shards[answer.shard] = answer
            else:
                yield answer


@dataclass(frozen=True, slots=True)
class RowChecker:
    """Does the items of a version's audit."""

    record: VersionRecord
    index: AuditedVersion
    staged: StagedVersion | None  # proves chunks that have no proof in the index

    def __call__(self, item: RowsItem | IdsItem | SearchItem | ShardItem) -> Answer:
        """What is found of the block's chunks, in the collection, or in the shard's files."""
        if isinstance(item, ShardItem):
            return self.shard(item.shard)
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
        checked = CheckedRows.nothing(self.record)
        ids = item.block.ids().tolist()
        documents = check_rows(checked, self.record, self.index, ids, self.staged, item.unreadable)
        return RowsChecked(item.index, len(ids), checked, documents)

    def shard(self, shard: StagedShard) -> ShardRead:
        """Whether its files are there, and what was written."""
        if self.staged is None:
            return ShardRead(shard, is_here=False)
        try:
            self.staged.read(shard, self.record.encoder.heads)
        except MragError as error:
            return ShardRead(shard, is_here=True, damage=error.found)
        return ShardRead(shard, is_here=True)


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
    shards = list(staged.shards())
    num_bytes = _row_bytes(record) * record.num_chunks // max(1, len(shards))
    for number, shard in enumerate(shards, first_number):
        yield ShardItem(number, shard, num_bytes)


def rows_items(
    record: VersionRecord, ids: SortedIds, unreadable: Sequence[str]
) -> Iterator[RowsItem]:
    """The chunks in blocks, in order."""
    row_bytes, left_out = _row_bytes(record), tuple(unreadable)
    for number, block in enumerate(ids.blocks(BLOCK_ROWS)):
        yield RowsItem(number, block, left_out, len(block) * row_bytes)


def _row_bytes(record: VersionRecord) -> int:
    """Of a chunk, in all collections."""
    card = record.encoder
    return 4 * (len(card.heads) * card.head_dim + card.standard_dim) + _TEXT_BYTES
