"""What a sync adds and removes, as staging and the index say, and the rounds that bring it about.

The items of `apply_items.py` read and write; here is what they are given, and what their answers
add up to. Memory: blocks of ids, and sums; on disk, in the system's temporary folder: 8 bytes for
each chunk that is added or removed (16 while they are sorted), 24 for each removed document.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import DeltaStaging, OpenPool, Progress, VersionRows
from mrag_pipeline.stages.distinct_keys import DistinctKeys
from mrag_pipeline.stages.in_order import in_order
from mrag_pipeline.stages.sorted_ids import SortedIds, lacking_ranges, range_numbers
from mrag_pipeline.stages.spilled_rows import SpilledRows
from mrag_pipeline.stages.staged_receipts import every_receipt
from mrag_pipeline.stages.sync.apply_items import (
    AddedChunks,
    Applier,
    Changed,
    StoredSums,
    added_items,
    delete_items,
    num_delete_items,
    num_sums_items,
    sums_items,
    write_items,
)
from mrag_pipeline.stages.versions.stored_rows import row_bytes

Ids = NDArray[np.int64]

ROWS_IN_MEMORY = 250_000  # more wait on disk
IDS_AT_ONCE = 500_000  # that are compared without going by ranges
_ID = np.dtype([("key", np.int64)])
_WHAT = "the ids of chunks that the sync adds"
_NO_IDS: Ids = np.zeros(0, np.int64)


class StagedChange:
    """One sync's change: `read`, then `removed_sums` if they are not stored, `write`, `close`."""

    def __init__(
        self,
        record: VersionRecord,
        manifest: Manifest,
        staging: DeltaStaging,
        index: VersionRows,
        open_pool: OpenPool,
        progress: Progress,
    ) -> None:
        """Reads the removals and the shards' receipts; opens the pool.

        Raises: StagingError if a shard is not staged, or the removals are not there; StorageFull.
        """
        self._manifest = manifest
        self._staging = staging
        self._card = record.encoder
        # After a power cut a Milvus Lite database may have a chunks row without its vectors.
        self._keeps_order = index.capabilities().is_shared
        self._progress = progress
        self._work = Applier(record, staging, index)
        self._open_pool = open_pool
        self._count_shards()
        keys = DistinctKeys(ROWS_IN_MEMORY)
        with closing(keys):
            self.removed = SortedIds(self._removed_ids(keys))
            self.num_removed_documents = keys.count()
        self.added = SortedIds(())
        self.taken = _NO_IDS  # added ids of chunks that the index has, and the sync does not remove
        self.added_sums = self._no_sums()
        num_rows = self._num_staged_chunks + len(self.removed)
        self._num_bytes = num_rows * row_bytes(record)
        self._pool = open_pool(self._work, self._num_bytes)

    def close(self) -> None:
        """Ends the workers, and lets go of the temporary files."""
        self._pool.close()
        self.removed.close()
        self.added.close()

    @property
    def num_documents(self) -> int:
        """That are added."""
        return self._num_staged_documents - self._num_left_out

    @property
    def num_dead_letters(self) -> int:
        """Of the shards, those left out counted."""
        return self._num_staged_letters + self._num_left_out

    def read(self, is_first: bool) -> None:
        """Reads what the shards add.

        Args:
            is_first: nothing is settled yet: ids are looked up in the index, and `removed_sums`
                follows.
        Raises: StagingError, StorageFull, IndexBusy, IndexUnavailable.
        """
        num_items = len(self._manifest.shards)
        if is_first:
            num_items += num_sums_items(self.removed)
        self._progress.phase("check", num_items, "items")
        self._read_added(is_first)

    def read_again(self) -> None:
        """As `read`, after more documents were left out: by workers that look at that anew."""
        self._pool.close()
        self._pool = self._open_pool(self._work, self._num_bytes)
        self._read_added(looks_up=False, is_counted=False)

    def removed_sums(self) -> ImportanceSums:
        """The sums over the removed rows of the index, as they are now.

        Raises: VerifyFailed if a head lacks one.
        """
        vector_bytes = 4 * len(self._card.heads) * self._card.head_dim
        sums = self._no_sums()

        def read() -> Iterator[StoredSums]:
            answer: StoredSums
            for answer in self._pool.run(sums_items(self.removed, vector_bytes)):
                self._progress.advance(1)
                yield answer

        for answer in in_order(read(), lambda answer: answer.index):
            sums = sums + answer.sums
        return sums

    def write(self, is_repeated: bool) -> None:
        """Adds all rows, then deletes those of removed chunks that none of the added ones is.

        Args:
            is_repeated: an earlier run may have written some of them.
        Raises: StagingError, StorageFull, IndexBusy, IndexUnavailable.
        """
        self._progress.finish()
        with closing(SortedIds(lacking_blocks(self.removed, self.added))) as stale:
            num_shards = len(self._manifest.shards)
            self._progress.phase("apply", num_shards + num_delete_items(stale), "items")
            num_there = 0
            is_repeated = is_repeated and self._keeps_order
            changed: Changed
            for changed in self._pool.run(write_items(self._manifest, is_repeated)):
                self._progress.advance(1)
                num_there += not changed.had_to_be
            if num_there:
                self._progress.note(f"{num_there} of {num_shards} shards were written already")
            for _ in self._pool.run(delete_items(stale)):
                self._progress.advance(1)

    # -------------------------------------------------------------- inside
    @property
    def _num_left_out(self) -> int:
        return sum(map(len, (self._staging.duplicates() or {}).values()))

    def _no_sums(self) -> ImportanceSums:
        return ImportanceSums.zero(len(self._card.heads), self._card.head_dim)

    def _count_shards(self) -> None:
        self._num_staged_chunks = self._num_staged_documents = self._num_staged_letters = 0
        for receipt in every_receipt(self._manifest, self._staging):
            self._num_staged_chunks += receipt.num_chunks
            self._num_staged_documents += receipt.num_documents
            self._num_staged_letters += receipt.num_dead_letters

    def _removed_ids(self, keys: DistinctKeys) -> Iterator[Ids]:
        for marks in self._staging.removed():
            documents = {mark.document_id for mark in marks}
            keys.add(np.fromiter(map(text_key, documents), np.uint64, len(documents)))
            yield np.array([mark.id for mark in marks], np.int64)

    def _read_added(self, looks_up: bool, is_counted: bool = True) -> None:
        self.added.close()
        self.added_sums = self._no_sums()
        with closing(SpilledRows(_ID, range_numbers, ROWS_IN_MEMORY, _WHAT)) as taken:
            self.added = SortedIds(self._added_ids(looks_up, is_counted, taken))
            with closing(SortedIds(rows["key"] for rows in taken.buckets())) as ids:
                found = [_NO_IDS, *lacking_blocks(ids, self.removed)]
                self.taken = np.concatenate(found)

    def _added_ids(self, looks_up: bool, is_counted: bool, taken: SpilledRows) -> Iterator[Ids]:
        early: dict[int, ImportanceSums] = {}
        turn = 0
        answer: AddedChunks
        for answer in self._pool.run(added_items(self._manifest, looks_up)):
            taken.add(np.ascontiguousarray(answer.taken).view(_ID))
            # In the plan's order, so that the sums are the same to the last bit.
            early[answer.index] = answer.sums
            while turn in early:
                self.added_sums = self.added_sums + early.pop(turn)
                turn += 1
            if is_counted:
                self._progress.advance(1)
            yield answer.ids
        assert not early, f"item {turn} has no answer, or one has two: {len(early)} lost"


def lacking_blocks(ids: SortedIds, others: SortedIds) -> Iterator[Ids]:
    """Those of the ids that the others lack, rising: (n,) at once if they are few, else by range.

    n may be 0.
    """
    if len(ids) + len(others) > IDS_AT_ONCE:
        yield from lacking_ranges(ids, others)
        return
    yield np.setdiff1d(ids.between(0, len(ids)), others.between(0, len(others)), assume_unique=True)
