"""One item of an audit: every row of some chunks, and what is not as it was written; or all ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import ReadableVersion
from mrag_pipeline.stages.versions.row_checks import BLOCK_ROWS, CheckedRows, check_rows
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


@dataclass(frozen=True, slots=True)
class RowChecker:
    """Does the items of a version's audit."""

    record: VersionRecord
    index: ReadableVersion
    staged: StagedVersion | None  # proves chunks that have no proof in the index

    def __call__(self, item: RowsItem | IdsItem) -> RowsChecked | IdsRead:
        """What is found of the block's chunks, or in the collection."""
        if isinstance(item, IdsItem):
            sums = map(IdSum.of, self.index.ids(item.collection))
            return IdsRead(item.collection, sum(sums, start=IdSum()))
        return self.rows(item)

    def rows(self, item: RowsItem) -> RowsChecked:
        """What is found of the block's chunks."""
        checked = CheckedRows.nothing(self.record)
        ids = item.ids.tolist()
        documents = check_rows(checked, self.record, self.index, ids, self.staged, item.unreadable)
        return RowsChecked(item.index, len(ids), checked, documents)


def ids_items(collections: Sequence[str], num_rows: int) -> list[IdsItem]:
    """One for each collection."""
    return [IdsItem(number, name, 8 * num_rows) for number, name in enumerate(collections)]


def rows_items(
    record: VersionRecord, ids: NDArray[np.int64], unreadable: Sequence[str]
) -> Iterator[RowsItem]:
    """The chunks in blocks, in order."""
    card = record.encoder
    row_bytes = 4 * (len(card.heads) * card.head_dim + card.standard_dim) + _TEXT_BYTES
    for number, start in enumerate(range(0, len(ids), BLOCK_ROWS)):
        block = ids[start : start + BLOCK_ROWS]
        yield RowsItem(number, block, tuple(unreadable), len(block) * row_bytes)
