"""Compares a version with its staging, or with its own proofs: what a repair has to mend.

The comparison is items of the pool that audits: rows, ids and searches are read by workers. This
process keeps what is wrong, and adds up the sums and documents that the record should have.
Memory: 8 bytes for each row that is wrong; of staging, a line for each shard.
Disk: 24 bytes a chunk and 8 a document.
Shape legend: N rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import OpenPool, Progress, Rows, VersionRows
from mrag_pipeline.stages.sorted_ids import SortedIds, lacking_ranges
from mrag_pipeline.stages.versions.audit_findings import misled_collections
from mrag_pipeline.stages.versions.row_answers import OtherAnswers, document_keys, rows_in_order
from mrag_pipeline.stages.versions.row_checks import CheckedRows
from mrag_pipeline.stages.versions.row_items import (
    Item,
    RowChecker,
    RowsChecked,
    StagedRowsItem,
    ids_items,
    num_rows_items,
    rows_items,
    search_items,
    staged_rows_items,
)
from mrag_pipeline.stages.versions.search_check import MOST_SEARCHED
from mrag_pipeline.stages.versions.staged_version import StagedShard, StagedVersion
from mrag_pipeline.stages.versions.stored_rows import row_bytes

Ids = NDArray[np.int64]
_NO_IDS: Ids = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class WantedChunks:
    """The chunks that a version should have: staging knows, unless a shard cannot be read."""

    ids: SortedIds
    unstaged: SortedIds  # those of them that only the index knows

    @classmethod
    def of(
        cls, record: VersionRecord, index: Rows, staged: StagedVersion | None, is_readable: bool
    ) -> WantedChunks:
        """Reads the ids.

        Args:
            is_readable: whether the chunks collection is; without staging it has to be.
        Raises: StagingError if what a sync removed cannot be read; StorageFull.
        """
        chunks = record.chunks_collection()
        if staged is None:
            ids = SortedIds(index.ids(chunks))
            return cls(ids, ids)
        staged_ids = SortedIds(staged.chunk_ids())
        if staged.is_whole() or not is_readable:
            return cls(staged_ids, SortedIds(()))
        with closing(staged_ids):
            ids = SortedIds(chain(staged_ids.ranges(), index.ids(chunks)))
            return cls(ids, SortedIds(lacking_ranges(ids, staged_ids)))

    def close(self) -> None:
        """Removes the files."""
        self.ids.close()
        self.unstaged.close()


@dataclass(slots=True, eq=False)
class Compared:
    """What was found in a version's rows."""

    num_chunks: int  # that were compared
    num_documents: int  # that have these chunks
    sums: list[ImportanceSums]  # of each head's usable vectors, of these chunks
    # By collection, the rows that are missing, altered or there twice: (N,), rising; with the
    # shard where they are staged, None if staging does not know them. A row may be there twice.
    wrong: dict[str, list[tuple[StagedShard | None, Ids]]]
    surplus: set[str] = field(default_factory=set)  # collections that have rows of no chunk
    misled: frozenset[str] = frozenset()  # collections whose searches miss what they store

    def in_shards(self, collection: str) -> dict[StagedShard | None, Ids]:
        """The collection's wrong rows by shard, each once."""
        found: dict[StagedShard | None, Ids] = {}
        for shard, ids in self.wrong.get(collection, ()):
            found[shard] = np.union1d(found.get(shard, _NO_IDS), ids)
        return found

    def broken(self, left_out: str | None) -> Ids:
        """(N,) the chunks of which a row is wrong, rising.

        Args:
            left_out: a collection whose rows do not count.
        """
        kept = (parts for collection, parts in self.wrong.items() if collection != left_out)
        return np.unique(np.concatenate([_NO_IDS, *(ids for parts in kept for _, ids in parts)]))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares; may be asked again after rows were changed."""

    record: VersionRecord
    index: VersionRows
    staged: StagedVersion | None
    wanted: WantedChunks
    open_pool: OpenPool
    progress: Progress

    def of_all(self, phase: str, not_searched: Collection[str]) -> Compared:
        """Of all chunks that the version should have, in every collection.

        Args:
            phase: what people are shown.
            not_searched: collections whose searches are not looked at.
        Raises: StagingError if staged files change meanwhile; IndexBusy, IndexUnavailable.
        """
        record, ids = self.record, self.wanted.ids
        drawn = ids.sampled(MOST_SEARCHED, seed=0)
        searches = search_items(record, drawn, len(ids), not_searched)
        collections: list[Item] = [*searches]
        collections += ids_items(record.collections(), len(ids), len(searches))
        unstaged = self.wanted.unstaged
        blocks = rows_items(record, unstaged, (), len(collections))
        first_shard = len(collections) + num_rows_items(unstaged)
        shards: Iterable[Item] = ()
        num_shards = 0
        if self.staged is not None:
            shards = staged_rows_items(record, self.staged, first_shard)
            num_shards = len(self.staged.id_sums())
        num_bytes = sum(item.num_bytes for item in collections) + row_bytes(record) * len(ids)
        others = OtherAnswers()
        compared = self._of_rows(
            phase,
            len(ids),
            num_bytes,
            chain(collections, blocks, shards),
            first_shard + num_shards,
            len(collections),
            others,
        )
        for collection, id_sum in others.sums.items():
            if id_sum != ids.sum:
                self._add_ids(compared, collection)
        compared.misled = misled_collections(record, self.index, others.searched)
        return compared

    def of_rest(self, phase: str, left_out: Ids) -> Compared:
        """Counts of those that are left, by what the index itself says of them.

        Args:
            left_out: chunks that the index has no rows of any more.
        """
        words = self.record.lexical_collection()
        unread = () if words is None else (words,)
        kept = (part[~np.isin(part, left_out)] for part in self.wanted.ids.ranges())
        with closing(SortedIds(kept)) as ids:
            items = rows_items(self.record, ids, unread)
            num_bytes = row_bytes(self.record) * len(ids)
            num_items = num_rows_items(ids)
            return self._of_rows(phase, len(ids), num_bytes, items, num_items, 0, OtherAnswers())

    def _of_rows(
        self,
        phase: str,
        num_chunks: int,
        num_bytes: int,
        items: Iterable[Item],
        num_items: int,
        first_number: int,
        others: OtherAnswers,
    ) -> Compared:
        """What the items of rows find.

        Args:
            first_number: of the items of rows.
            others: gets the answers of other items.
        """
        work = RowChecker(self.record, self.index, self.staged)
        total = CheckedRows.nothing(self.record)
        wrong: dict[str, list[tuple[StagedShard | None, Ids]]] = {}
        self.progress.phase(phase, num_items, "items")
        with closing(self.open_pool(work, num_bytes)) as pool, closing(document_keys()) as keys:
            answers = self._confirmed(work, others.kept_of(pool.run(items), self.progress))
            for answer in rows_in_order(answers, first_number, keys, self.progress):
                total.add(CheckedRows(answer.checked.sums))
                for collection, ids in answer.checked.wrong(self.record).items():
                    wrong.setdefault(collection, []).append((answer.shard, ids))
            num_documents = keys.count()
        self.progress.finish()
        return Compared(num_chunks, num_documents, total.sums, wrong)

    def _confirmed(self, work: RowChecker, answers: Iterable[RowsChecked]) -> Iterator[RowsChecked]:
        """The answers; of rows that a worker finds wrong by its staging, this process's own.

        A worker may not reach the folder, or have an older one at the same path: nothing is
        written, and no document removed, because of what only a worker has read there.

        Raises: StagingError if a shard is not what it was when its ids were read.
        """
        for answer in answers:
            if answer.shard is None:
                yield answer
                continue
            item = self._item(answer.index, answer.shard)
            wrong = answer.checked.wrong(self.record)
            if not answer.is_here:
                yield _whole(work.staged_rows(item), item.ids.num_ids)
            elif wrong:
                ids = np.unique(np.concatenate([*wrong.values()]))
                own = _whole(work.staged_rows(item, ids), len(ids))
                own.checked.sums[:] = answer.checked.sums
                yield replace(answer, checked=own.checked)
            else:
                yield answer

    def _item(self, number: int, shard: StagedShard) -> StagedRowsItem:
        assert self.staged is not None  # or there would be no items of shards
        return StagedRowsItem(number, shard, self.staged.id_sums()[shard], 0)

    def _add_ids(self, compared: Compared, collection: str) -> None:
        """Adds what is wrong with a collection's ids: rows of no chunk, rows that are there twice.

        Rows that it lacks are known.
        """
        wanted = self.wanted.ids
        with closing(SortedIds(self.index.ids(collection))) as stored:
            if any(len(part) for part in lacking_ranges(stored, wanted)):
                compared.surplus.add(collection)
            parts = [np.intersect1d(stored.twice, part) for part in wanted.ranges()]
        twice = np.concatenate([_NO_IDS, *parts])
        places: list[tuple[StagedShard | None, Ids]] = []
        if self.staged is not None and len(twice):
            places += self.staged.located(twice)
        is_staged = np.isin(twice, np.concatenate([_NO_IDS, *(ids for _, ids in places)]))
        if not is_staged.all():
            places.append((None, twice[~is_staged]))
        if places:
            compared.wrong.setdefault(collection, []).extend(places)


def _whole(answer: RowsChecked, num_chunks: int) -> RowsChecked:
    """Raises: StagingError if it is not of so many chunks."""
    if answer.num_chunks != num_chunks:
        raise StagingError(
            f"a staged shard is not what it was a moment ago: {answer.shard}",
            "staging that nobody changes during a repair",
            "run `mrag repair` again",
        )
    return answer
