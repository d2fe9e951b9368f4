"""Puts a version right: restores rows from staging without embedding, else removes documents.

A document that cannot be made whole is removed, so that it is in all heads or in none; the next
sync adds it again. Running it again after a kill gives the same result.

All rows are compared (`comparison.py`), what is wrong is written in this process, and if anything
was, all rows are compared again. Memory and disk: those of the comparison, and a staged shard.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import PlanRefused, VerifyFailed
from mrag_pipeline.ports import CollectionSpec, OpenPool, Progress, VersionRows
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.sorted_ids import SortedIds
from mrag_pipeline.stages.version_collections import collections_of
from mrag_pipeline.stages.versions.comparison import Compared, Comparison, WantedChunks
from mrag_pipeline.stages.versions.repair_changes import RepairChanges
from mrag_pipeline.stages.versions.restored_rows import (
    restore,
    restore_words,
    unrestorable,
    without,
)
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.stages.versions.stored_rows import BLOCK_ROWS, matching_heads

_DELETED_AT_ONCE = 100_000  # rows, about: each deletion waits until no read sees them
_MISLED = "its searches do not find what it stores"

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
        open_pool: where rows are compared and counted; the result is the same.
    Raises: PlanRefused while a sync is unfinished; VerifyFailed for a collection that is lost
        where staging is not here; StagingError if what a sync removed cannot be read, or if
        staged files change meanwhile; StorageFull, IndexBusy, IndexUnavailable.
    """
    if record.pending:
        raise PlanRefused(
            f"a sync of {record.version} was cut short: what belongs in it is not settled",
            "a version between two syncs",
            "run `mrag sync`; if its staging is lost, `mrag ingest` builds a new version",
        )
    specs = collections_of(record)
    damages = {spec.name: index.damage(spec.name) for spec in specs}
    damaged = {name: why for name, why in damages.items() if why is not None}
    if damaged and staged is None:
        raise _not_here(record, damaged)
    is_readable = record.chunks_collection() not in damaged
    with closing(WantedChunks.of(record, index, staged, is_readable)) as wanted:
        comparison = Comparison(record, index, staged, wanted, open_pool, progress)
        done = _repaired(RepairChanges(record, index), comparison, specs, damaged)
    log.info(
        "version_repaired version=%s rows=%d removed=%d",
        record.version,
        done.restored,
        done.removed,
    )
    return done


def _repaired(
    changes: RepairChanges,
    comparison: Comparison,
    specs: Sequence[CollectionSpec],
    damaged: Mapping[str, str],
) -> Repaired:
    """See `repair`.

    Args:
        specs: the version's collections: heads, words, chunks.
        damaged: why some of them cannot be read, by name.
    """
    record, staged, wanted = changes.record, comparison.staged, comparison.wanted
    restored = _rebuild(changes, specs, staged, damaged)
    compared = comparison.of_all("repair", not_searched=damaged)
    misled = compared.misled
    rebuilt = {} if staged is None else dict.fromkeys(misled, _MISLED)
    num_rows = _rebuild(changes, specs, staged, rebuilt)
    num_words = 0
    heads = dict(zip(record.head_collections(), record.encoder.heads, strict=True))
    wrong = {spec: compared.in_shards(spec.name) for spec in specs if spec.name not in rebuilt}
    of_vectors = {spec.name: ids for spec, ids in wrong.items() if spec.lexical is None}
    lost = unrestorable(staged, of_vectors, heads)
    # The chunks rows last: they commit what is in every voter's collection by then.
    for spec, by_shard in wrong.items():
        restorable = without(by_shard, lost)
        if spec.lexical is not None:
            num_words += restore_words(changes, spec, staged, restorable)
        else:
            num_rows += restore(changes, spec, staged, heads.get(spec.name), restorable)[0]
    if num_rows or rebuilt:
        others = {*record.collections()} - rebuilt.keys()
        compared = comparison.of_all("check", not_searched=others)
        misled &= compared.misled
    # Their words are right by now.
    broken = compared.broken(left_out=record.lexical_collection())
    incomplete, num_documents = _documents_of(changes.index, record.chunks_collection(), broken)
    removed = 0
    for spec in (specs[-1], *specs[:-1]):
        if len(incomplete) or spec.name in compared.surplus:
            removed += _remove_surplus(changes, spec.name, wanted.ids, incomplete)
    if len(incomplete) and removed:
        compared = comparison.of_rest("check", incomplete)
    elif len(incomplete):  # an earlier repair has removed them
        compared = replace(compared, num_chunks=compared.num_chunks - len(incomplete))
    after = _recounted(changes.record, compared)
    recounted = replace(after, repairs=record.repairs).to_json() != record.to_json()
    if after.is_in_repair():
        after = replace(after, repairs=after.repairs + 1)
    if after.to_json() != record.to_json():
        changes.index.write_record(after)
    restored += num_rows + num_words
    return Repaired(after, restored, removed, num_documents, recounted, tuple(sorted(misled)))


def _rebuild(
    changes: RepairChanges,
    specs: Sequence[CollectionSpec],
    staged: StagedVersion | None,
    why: Mapping[str, str],
) -> int:
    """Builds collections anew from staging, if it is here; returns how many rows were written.

    Args:
        why: by the names of those that are built.
    """
    record, num_rows = changes.record, 0
    heads = dict(zip(record.head_collections(), record.encoder.heads, strict=True))
    for spec in specs:
        if staged is not None and spec.name in why:
            log.warning("collection_rebuilt name=%s why=%s", spec.name, why[spec.name])
            num_rows += changes.begun().rebuild(spec, staged.tables(heads.get(spec.name)))
    return num_rows


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


def _not_here(record: VersionRecord, damaged: Mapping[str, str]) -> VerifyFailed:
    chunks = record.chunks_collection()
    name = chunks if chunks in damaged else next(iter(damaged))
    return VerifyFailed(
        f"{name}: {damaged[name]}",
        f"the collection, or the staging of {record.version} to build it anew from",
        "restore the staging folder; or run `mrag ingest`, which embeds the corpus again, and "
        "then `mrag repair` if it says so",
    )


def _documents_of(
    index: VersionRows, chunks: str, broken: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
    """All chunks of the documents that a broken chunk belongs to, and how many documents.

    Args:
        chunks: the chunks collection.
    """
    document_ids: set[str] = set()
    for start in range(0, len(broken), BLOCK_ROWS):
        rows = index.chunks(chunks, broken[start : start + BLOCK_ROWS].tolist())
        document_ids |= {row.document_id for row in rows.values()}
    if not document_ids:
        return broken, 0
    chunk_ids = [mark.id for mark in index.marks_of(chunks, sorted(document_ids))]
    return np.union1d(broken, np.array(chunk_ids, np.int64)), len(document_ids)


def _recounted(record: VersionRecord, counted: Compared) -> VersionRecord:
    """The record with the counts and sums of what the index holds."""
    sums = ImportanceSums(
        counted.num_chunks,
        np.concatenate([head.norm_sum for head in counted.sums]),
        np.concatenate([head.unit_sum for head in counted.sums]),
    )
    # Sums that agree stay as recorded, to the last bit: a repair of a whole version writes nothing.
    is_counted_right = bool(matching_heads(record.sums, counted.sums).all())
    return replace(
        record,
        sums=record.sums if is_counted_right else sums,
        num_chunks=counted.num_chunks,
        num_documents=counted.num_documents,
        pending="",
    )
