"""Compares a corpus with a version by items, here or on workers.

The version's chunks and the corpus's documents are read by items, which answer with 28 bytes for
each: these wait in 256 buckets on this process's disk, and are compared a bucket at a time. Then
items store what differs.
Memory: a bucket's rows; some bytes for each item; dead letters. The chunks that are outdated, and
their marks, are on disk where they are many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.dead_letters import is_of_a_file, num_set_aside
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import MAX_SHARD_BYTES, Slice, cut, shard_bytes
from mrag_pipeline.domain.remarks import add_counts
from mrag_pipeline.domain.work_item import WorkItem
from mrag_pipeline.ports import OpenPool, Progress, WorkerPool
from mrag_pipeline.settings.sharding import ShardingSpec
from mrag_pipeline.stages.in_order import in_order
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.sorted_ids import SortedIds, range_numbers
from mrag_pipeline.stages.spilled_rows import SpilledRows
from mrag_pipeline.stages.sync import compared_rows
from mrag_pipeline.stages.sync.compare_items import (
    MOST_STORES,
    READ_BYTES,
    STORES,
    CorpusComparer,
    Marked,
    Outdated,
    Read,
    Stored,
    StoreItem,
    marks_items,
    outdated_items,
    store_items,
)
from mrag_pipeline.stages.sync.compared_rows import CHANGE, ROW, Tally, compared
from mrag_pipeline.stages.sync.read_plan import ReadPlan
from mrag_pipeline.stages.sync.spooled_marks import SpooledMarks
from mrag_pipeline.stages.sync.unread_files import UnreadFiles

ITEM_BYTES = MAX_SHARD_BYTES  # of the corpus, about what an item reads
ROWS_IN_MEMORY = 250_000  # 7 MB; more wait on disk
_WHAT = "the ids of documents that are compared"
_ID = np.dtype([("key", np.int64)])  # of a chunk


class ItemComparison:
    """One comparison: `read`, then `store`, then `close`."""

    def __init__(
        self,
        work: CorpusComparer,
        open_pool: OpenPool,
        progress: Progress,
        is_shared: bool,
        files: UnreadFiles,
    ) -> None:
        """Reads nothing yet.

        Args:
            is_shared: whether workers may open the index too.
            files: which of them need not be read.
        """
        self.tally = Tally()
        self.dead: list[DeadLetter] = []  # those of repeated ids only once all is stored
        self.remarks: dict[str, int] = {}
        self._work = work
        self._open_pool = open_pool
        self._progress = progress
        self._is_shared = is_shared
        self._files = files
        self._held = ExitStack()
        self._held.callback(files.close)
        self._plan = self._held.enter_context(closing(ReadPlan()))
        self._pool: WorkerPool[Any, Any] = in_this_process(work)
        self._num_chunks = 0
        self._letters: list[tuple[int, DeadLetter]] = []
        self._changes: SpilledRows
        self._replaced = self._outdated_ids()
        self._gone = self._outdated_ids()
        self._marks = SpooledMarks()
        self._held.callback(self._marks.close)

    def close(self) -> None:
        """Lets go of its temporary files."""
        self._held.close()

    def read(self) -> None:
        """Reads the version and the corpus, and compares them.

        Raises: StorageFull; EmptyCorpus and what the reader raises.
        """
        assert self._work.index is not None
        rows = SpilledRows(ROW, compared_rows.first_byte, ROWS_IN_MEMORY, _WHAT)
        self._held.callback(rows.close)
        self._list(rows)
        self._num_chunks = self._work.index.count(self._work.collection)
        reads = [item for item in self._plan.items if not item.is_known]
        of_version = list(marks_items(self._num_chunks, first_number=len(self._plan.items)))
        num_bytes = sum(item.num_bytes for item in of_version)
        num_bytes += sum(item.num_bytes for item in reads)
        self._progress.phase("compare", len(of_version) + len(reads), "items")
        self._pool = self._open_pool(self._work, num_bytes)
        self._held.callback(self._pool.close)
        answer: Marked | Read
        for answer in self._run(of_version, reads):
            if isinstance(answer, Marked):
                rows.add(answer.rows)
                self._progress.advance(1)
                continue
            self._take(answer, rows)
            self._progress.advance(1, {"documents": len(answer.rows)})
        self._compare(rows)
        rows.close()
        self._settle_letters()
        self._progress.finish()
        self._files.keep(self._plan)

    @property
    def num_dead(self) -> int:
        """How many documents are set aside, those of repeated ids included."""
        return num_set_aside(letter for _, letter in self._letters) + self.tally.repeated

    @property
    def num_unread_files(self) -> int:
        """How many files cannot be read, so that their documents are not known."""
        return sum(is_of_a_file(letter) for _, letter in self._letters)

    def store(self, is_gone_removed: bool) -> tuple[list[Slice], SpooledMarks]:
        """Stores what differs. Returns what was stored, and the chunks to remove until `close`.

        Raises: StorageFull and what the reader raises.
        """
        outdated = [self._replaced, self._gone] if is_gone_removed else [self._replaced]
        ids = SortedIds(rows["key"] for spilled in outdated for rows in spilled.buckets())
        self._held.callback(ids.close)
        num_bytes = sum(item.num_bytes for item in self._stores(READ_BYTES))
        read_bytes = min(READ_BYTES, max(ITEM_BYTES, num_bytes // STORES))
        read_bytes = max(read_bytes, num_bytes // MOST_STORES)
        num_stores = sum(1 for _ in self._stores(read_bytes))
        removals = list(outdated_items(ids, self._num_chunks, num_stores))
        if not (removals or num_stores):
            return [], self._marks
        self._progress.phase("store", len(removals) + num_stores, "items")
        slices: list[Slice] = []
        missed: set[int] = set()

        def all_stored() -> Iterator[Stored]:
            # A generator: the items of ten million small files do not fit in memory.
            for answer in self._run(removals, self._stores(read_bytes)):
                self._progress.advance(1)
                if isinstance(answer, Outdated):
                    self._marks.add(answer.index, answer.marks)
                else:
                    yield answer

        for stored in in_order(all_stored(), lambda stored: stored.index):
            slices += stored.slices
            self._letters += stored.repeated
            self._forget(stored.surplus_remarks)
            missed |= stored.missed
        self._settle_letters()
        self._marks.leave_out(missed)
        self._progress.finish()
        if missed:
            self._progress.note(
                f"{len(missed):,} new or changed documents could not be read a second time: what "
                "the index has of them stays as it is; the next sync reads them again"
            )
        return slices, self._marks

    # -------------------------------------------------------------- inside
    def _list(self, rows: SpilledRows) -> None:
        """Plans the items that read the corpus; takes what is known of it already."""
        slices = self._files.slices(self._work.reader, ITEM_BYTES)
        for shard in cut(slices, ITEM_BYTES):
            known = self._files.known(shard.index, shard)
            self._plan.add(shard, known.validators, known.unread)
            if len(known.unread) < len(shard.slices):
                self._take(known.read, rows)

    def _take(self, read: Read, rows: SpilledRows) -> None:
        rows.add(read.rows)
        self._letters += read.dead
        for counts in read.remarks.values():
            add_counts(self.remarks, counts)
        self._files.add(read, self._plan)

    def _compare(self, rows: SpilledRows) -> None:
        num_items = max(1, len(self._plan.items))

        def bucket(places: NDArray[np.uint64]) -> NDArray[np.uint8]:
            items, _ = compared_rows.slices_of(places.astype(np.int64))
            return (items * 256 // num_items).astype(np.uint8)

        self._changes = SpilledRows(CHANGE, bucket, ROWS_IN_MEMORY, _WHAT)
        self._held.callback(self._changes.close)
        for own in map(compared, rows.buckets()):
            self.tally.add(own.tally)
            self._changes.add(own.changes)
            self._replaced.add(np.ascontiguousarray(own.replaced).view(_ID))
            self._gone.add(np.ascontiguousarray(own.gone).view(_ID))

    def _outdated_ids(self) -> SpilledRows:
        ids = SpilledRows(_ID, range_numbers, ROWS_IN_MEMORY, "the ids of outdated chunks")
        self._held.callback(ids.close)
        return ids

    def _stores(self, read_bytes: int) -> Iterator[StoreItem]:
        sizes = (block["size"].sum(dtype=np.int64) for block in self._changes.buckets())
        part_bytes = shard_bytes(ShardingSpec(), int(sum(sizes)))
        in_places = (block.take(np.argsort(block["key"])) for block in self._changes.buckets())
        items = self._plan.items
        return store_items(in_places, lambda number: items[number].slices, part_bytes, read_bytes)

    def _run(self, of_index: Sequence[WorkItem], others: Iterable[WorkItem]) -> Iterator[Any]:
        """Answers to items, of which some read the index: on workers the last, often short ones."""
        if self._is_shared:
            is_list = isinstance(others, Sequence)
            yield from self._pool.run([*others, *of_index] if is_list else chain(others, of_index))
        else:
            yield from in_this_process(self._work).run(of_index)
            yield from self._pool.run(others)

    def _settle_letters(self) -> None:
        """In the order of the corpus."""
        self.dead = [letter for _, letter in sorted(self._letters, key=lambda placed: placed[0])]

    def _forget(self, remarks: Mapping[str, int]) -> None:
        for remark, count in remarks.items():
            left = self.remarks.get(remark, 0) - count
            if left > 0:
                self.remarks[remark] = left
            else:
                self.remarks.pop(remark, None)
