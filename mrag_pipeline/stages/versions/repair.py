"""Puts a version right: restores rows from staging without embedding, else removes documents.

A document that cannot be made whole is removed, so that it is in all heads or in none; the next
sync adds it again. Running it again after a kill gives the same result.
Memory: a shard of staging, an item for each 4,000 chunks, what is wrong. Disk: 24 bytes a chunk.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import text_key
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import PlanRefused, VerifyFailed
from mrag_pipeline.ports import CollectionSpec, OpenPool, Progress, Rows, VersionRows
from mrag_pipeline.stages.ingest.hash_buckets import HashBuckets
from mrag_pipeline.stages.ingest.load import collections_of
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.sorted_ids import SortedIds
from mrag_pipeline.stages.versions.repair_changes import RepairChanges
from mrag_pipeline.stages.versions.restored_rows import restore, restore_words
from mrag_pipeline.stages.versions.row_items import RowChecker, RowsChecked, rows_items
from mrag_pipeline.stages.versions.search_check import MOST_SEARCHED
from mrag_pipeline.stages.versions.search_recall import misled_collections
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.stages.versions.stored_rows import ids_twice, matching_heads, sums_in

_KEYS_IN_MEMORY = 250_000  # of documents, 6 MB; more wait on disk
_DELETED_AT_ONCE = 100_000  # rows, about: each deletion waits until no read sees them

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done."""

    record: VersionRecord
    restored: int  # rows, from staging
    removed: int  # rows of no chunk, and of documents that could not be made whole
    documents_removed: int
    recounted: bool  # whether the record's sums or counts were wrong
    # Collections whose searches still miss rows: staging is not here, or they are as they get.
    misled: tuple[str, ...] = ()


def repair(
    record: VersionRecord,
    staged: StagedVersion | None,
    index: VersionRows,
    progress: Progress,
    open_pool: OpenPool = in_this_process,
) -> Repaired:
    """Every chunk in every head with a usable vector; counts and importance match the rows.

    Collections that are lost, that cannot be read or whose searches are damaged are built anew from
    staging; readers fail on them meanwhile, on nothing else.

    Args:
        open_pool: where the rows are compared with their proofs; the result is the same.
    Raises: PlanRefused while a sync is unfinished; VerifyFailed for a collection that is lost
        where staging is not here; StagingError if what a sync removed cannot be read; IndexBusy,
        IndexUnavailable.
    """
    if record.pending:
        raise PlanRefused(
            f"a sync of {record.version} was cut short: what belongs in it is not settled",
            "a version between two syncs",
            "run `mrag sync`; if its staging is lost, `mrag ingest` builds a new version",
        )
    *voters, chunks = collections_of(record.index, record.version, record.encoder, record.lexical)
    progress.phase("repair", len(voters) + 1, "collections")
    if staged is None:
        _check_readable(record, index, chunks)
    with closing(_wanted(index, chunks, staged)) as wanted:
        done = _repaired(RepairChanges(record, index), wanted, staged, progress, open_pool)
    progress.finish()
    log.info(
        "version_repaired version=%s rows=%d removed=%d",
        record.version,
        done.restored,
        done.removed,
    )
    return done


def _repaired(
    changes: RepairChanges,
    wanted: SortedIds,
    staged: StagedVersion | None,
    progress: Progress,
    open_pool: OpenPool,
) -> Repaired:
    """See `repair`.

    Args:
        wanted: the chunks that the version should have.
    """
    record, index = changes.record, changes.index
    *voters, chunks = collections_of(record.index, record.version, record.encoder, record.lexical)
    heads = voters[: len(record.encoder.heads)]
    restored, misled = _rebuild(changes, (*voters, chunks), staged, wanted)
    removed = 0
    for head, collection in zip(record.encoder.heads, heads, strict=True):
        restored += restore(changes, collection, staged, head)
        progress.advance(1)
    for words in voters[len(heads) :]:
        restored += restore_words(changes, words, staged, wanted)
        progress.advance(1)
    # The chunks rows last: they commit what is in every voter's collection by now.
    restored += restore(changes, chunks, staged, None)
    broken = _broken(record, index, wanted, staged, open_pool)
    if staged is None or not staged.is_whole():  # else all that were there twice are written anew
        for collection in (*voters, chunks):
            broken = np.union1d(broken, ids_twice(index, collection.name))
    incomplete, num_documents = _documents_of(index, chunks, broken)
    for collection in (chunks, *voters):
        removed += _remove_surplus(changes, collection.name, wanted, incomplete)
    progress.advance(1)
    after = _recounted(changes.record, index)
    recounted = replace(after, repairs=record.repairs).to_json() != record.to_json()
    if after.is_in_repair():
        after = replace(after, repairs=after.repairs + 1)
    if after.to_json() != record.to_json():
        index.write_record(after)
    return Repaired(after, restored, removed, num_documents, recounted, misled)


def _rebuild(
    changes: RepairChanges,
    collections: Sequence[CollectionSpec],
    staged: StagedVersion | None,
    wanted: SortedIds,
) -> tuple[int, tuple[str, ...]]:
    """Builds what is lost, cannot be read or is searched wrongly anew.

    Returns: how many rows were written; the collections whose searches still miss rows.
    Raises: VerifyFailed if one is lost or cannot be read, and staging is not here.
    """
    record, index = changes.record, changes.index
    drawn = wanted.sampled(MOST_SEARCHED, seed=0)
    damaged = [spec.name for spec in collections if index.damage(spec.name) is not None]
    misled = misled_collections(record, index, drawn, damaged)
    num_rows = 0
    for number, collection in enumerate(collections):
        why = index.damage(collection.name)
        if why is None and staged is not None and collection.name in misled:
            why = "its searches do not find what it stores"
        if why is None:
            continue
        if staged is None:
            raise _not_here(record, f"{collection.name}: {why}")
        heads = record.encoder.heads
        head = heads[number] if number < len(heads) else None
        log.warning("collection_rebuilt name=%s why=%s", collection.name, why)
        num_rows += changes.begun().rebuild(collection, staged.tables(head))
    if misled and staged is not None:
        others = set(record.collections()) - misled
        misled &= misled_collections(record, index, drawn, others)
    return num_rows, tuple(sorted(misled))


def _wanted(index: Rows, chunks: CollectionSpec, staged: StagedVersion | None) -> SortedIds:
    """The chunks that the version should have: staging knows, unless a shard cannot be read."""
    if staged is None:
        return SortedIds(index.ids(chunks.name))
    ids = SortedIds(staged.chunk_ids())
    if staged.is_whole() or index.damage(chunks.name) is not None:
        return ids
    with closing(ids):
        return SortedIds(chain(ids.ranges(), index.ids(chunks.name)))


def _remove_surplus(
    changes: RepairChanges, collection: str, wanted: SortedIds, incomplete: NDArray[np.int64]
) -> int:
    """Removes the rows of no chunk and those of incomplete documents; returns how many.

    Args:
        incomplete: chunks of documents that cannot be made whole.
    """
    num_rows = 0
    surplus: list[int] = []
    with closing(SortedIds(changes.index.ids(collection))) as stored:
        for ids, wanted_ids in zip(stored.ranges(), wanted.ranges(), strict=True):
            surplus += ids[~np.isin(ids, wanted_ids) | np.isin(ids, incomplete)].tolist()
            if len(surplus) >= _DELETED_AT_ONCE:
                changes.begun().delete(collection, surplus)
                num_rows += len(surplus)
                surplus = []
    if surplus:
        changes.begun().delete(collection, surplus)
    return num_rows + len(surplus)


def _check_readable(record: VersionRecord, index: Rows, chunks: CollectionSpec) -> None:
    why = index.damage(chunks.name)
    if why is not None:
        raise _not_here(record, f"{chunks.name}: {why}")


def _not_here(record: VersionRecord, found: str) -> VerifyFailed:
    return VerifyFailed(
        found,
        f"the collection, or the staging of {record.version} to build it anew from",
        "restore the staging folder; or run `mrag ingest`, which embeds the corpus again, and "
        "then `mrag repair` if it says so",
    )


def _broken(
    record: VersionRecord,
    index: VersionRows,
    wanted: SortedIds,
    staged: StagedVersion | None,
    open_pool: OpenPool,
) -> NDArray[np.int64]:
    """Chunks of which a row is missing or not what was written; their words are right by now."""
    words = record.lexical_collection()
    items = list(rows_items(record, wanted, () if words is None else (words,)))
    work = RowChecker(record, index, staged)
    broken = [np.zeros(0, np.int64)]
    with closing(open_pool(work, sum(item.num_bytes for item in items))) as pool:
        answer: RowsChecked
        for answer in pool.run(items):
            broken.append(answer.checked.broken_ids())
    return np.unique(np.concatenate(broken))


def _documents_of(
    index: Rows, chunks: CollectionSpec, broken: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
    """All chunks of the documents that a broken chunk belongs to, and how many documents."""
    if not len(broken):
        return broken, 0
    broken_ids = set(broken.tolist())
    document_ids = {
        mark.document_id
        for block in index.marks(chunks.name)
        for mark in block
        if mark.id in broken_ids
    }
    chunk_ids = [
        mark.id
        for block in index.marks(chunks.name)
        for mark in block
        if mark.document_id in document_ids
    ]
    return np.union1d(broken, np.array(chunk_ids, np.int64)), len(document_ids)


def _recounted(record: VersionRecord, index: Rows) -> VersionRecord:
    """The record with the counts and sums of what the index holds."""
    chunks_collection = record.chunks_collection()
    with closing(HashBuckets(_KEYS_IN_MEMORY)) as documents:
        for number, block in enumerate(index.marks(chunks_collection)):
            keys = {text_key(mark.document_id) for mark in block}
            documents.add(number, np.fromiter(keys, np.uint64, len(keys)))
        num_documents = documents.num_distinct()
    with closing(SortedIds(index.ids(chunks_collection))) as ids:
        num_chunks = len(ids)
        heads = [
            sums_in(index, collection, ids, record.encoder.head_dim)
            for collection in record.head_collections()
        ]
    sums = ImportanceSums(
        num_chunks,
        np.concatenate([head.norm_sum for head in heads]),
        np.concatenate([head.unit_sum for head in heads]),
    )
    # Sums that agree stay as recorded, to the last bit: a repair of a whole version writes nothing.
    is_counted_right = bool(matching_heads(record.sums, heads).all())
    return replace(
        record,
        sums=record.sums if is_counted_right else sums,
        num_chunks=num_chunks,
        num_documents=num_documents,
        pending="",
    )
