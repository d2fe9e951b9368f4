"""One item of an audit: rows of some chunks and what is not as it was written; ids; searches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.sampling import sampled
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import AuditedVersion
from mrag_pipeline.stages.versions.row_checks import BLOCK_ROWS, CheckedRows, check_rows
from mrag_pipeline.stages.versions.search_check import (
    MOST_SEARCHED,
    searches_exactly,
    unsearchable_in,
)
from mrag_pipeline.stages.versions.search_recall import Recall, recall_in
from mrag_pipeline.stages.versions.staged_version import StagedVersion

_TEXT_BYTES = 1_000  # of a chunks row, beside its vector


@dataclass(frozen=True, slots=True, eq=False)
class RowsItem:
    """Check the rows of a block of chunks."""

    index: int
    ids: NDArray[np.int64]  # rising: a range of hashes
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


@dataclass(slots=True)
class AuditAnswers:
    """Takes what is not of rows out of a pool's answers."""

    sums: dict[str, IdSum] = field(default_factory=dict)  # by collection
    searched: list[Searched] = field(default_factory=list)

    def of_rows(self, answers: Iterable[RowsChecked | IdsRead | Searched]) -> Iterator[RowsChecked]:
        """The others, as they come."""
        for answer in answers:
            if isinstance(answer, IdsRead):
                self.sums[answer.collection] = answer.ids
            elif isinstance(answer, Searched):
                self.searched.append(answer)
            else:
                yield answer


@dataclass(frozen=True, slots=True)
class RowChecker:
    """Does the items of a version's audit."""

    record: VersionRecord
    index: AuditedVersion
    staged: StagedVersion | None  # proves chunks that have no proof in the index

    def __call__(self, item: RowsItem | IdsItem | SearchItem) -> RowsChecked | IdsRead | Searched:
        """What is found of the block's chunks, or in the collection."""
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
        ids = item.ids.tolist()
        documents = check_rows(checked, self.record, self.index, ids, self.staged, item.unreadable)
        return RowsChecked(item.index, len(ids), checked, documents)


def ids_items(collections: Sequence[str], num_rows: int, first_number: int) -> list[IdsItem]:
    """One for each collection."""
    return [
        IdsItem(number, name, 8 * num_rows) for number, name in enumerate(collections, first_number)
    ]


def search_items(
    record: VersionRecord,
    ids: NDArray[np.int64],
    unreadable: Collection[str],
    first_number: int = 0,
) -> list[SearchItem]:
    """One for each collection of vectors, the chunks collection first.

    Args:
        ids: of these chunks, at most `MOST_SEARCHED` are drawn at random.
    """
    drawn, card = sampled(ids, MOST_SEARCHED, seed=0), record.encoder
    widths = {record.chunks_collection(): card.standard_dim}
    widths |= dict.fromkeys(record.head_collections(), card.head_dim)
    wide = [(name, width) for name, width in widths.items() if name not in unreadable]
    return [
        SearchItem(number, name, drawn, 4 * width * len(ids))
        for number, (name, width) in enumerate(wide, first_number)
    ]


def rows_items(
    record: VersionRecord, ids: NDArray[np.int64], unreadable: Sequence[str]
) -> Iterator[RowsItem]:
    """The chunks in blocks, in order."""
    card = record.encoder
    row_bytes = 4 * (len(card.heads) * card.head_dim + card.standard_dim) + _TEXT_BYTES
    for number, start in enumerate(range(0, len(ids), BLOCK_ROWS)):
        block = ids[start : start + BLOCK_ROWS]
        yield RowsItem(number, block, tuple(unreadable), len(block) * row_bytes)
