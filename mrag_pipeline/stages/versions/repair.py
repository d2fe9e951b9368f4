"""Puts a version right: restores rows from staging without embedding, else removes documents.

A document that cannot be made whole is removed, so that it is in all heads or in none; the next
sync adds it again. Running it again after a kill gives the same result.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.ports import CollectionSpec, Progress, Rows, VersionRows
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.stages.ingest.load import collections_of
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.stages.versions.stored_rows import (
    ids_in,
    matching_heads,
    stale_words,
    sums_in,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done."""

    record: VersionRecord
    restored: int  # rows, from staging
    removed: int  # rows of no chunk, and of documents that could not be made whole
    documents_removed: int
    recounted: bool  # whether the record's sums or counts were wrong


def repair(
    record: VersionRecord, staged: StagedVersion | None, index: VersionRows, progress: Progress
) -> Repaired:
    """Every chunk in every head with a usable vector; counts and importance match the rows.

    Raises: PlanRefused while a sync is unfinished; StagingError if staging is here and damaged;
        IndexBusy, IndexUnavailable.
    """
    if record.pending:
        raise PlanRefused(
            f"a sync of {record.version} was cut short: what belongs in it is not settled",
            "a version between two syncs",
            "run `mrag sync`; if its staging is lost, `mrag ingest` builds a new version",
        )
    *voters, chunks = collections_of(record.index, record.version, record.encoder, record.lexical)
    heads = voters[: len(record.encoder.heads)]
    progress.phase("repair", len(voters) + 1, "collections")
    wanted = ids_in(index, chunks.name) if staged is None else staged.chunk_ids()
    restored = removed = 0
    for head, collection in zip(record.encoder.heads, heads, strict=True):
        restored += _restore(index, collection, staged, head, wanted)
        progress.advance(1)
    for words in voters[len(heads) :]:
        restored += _restore_words(index, words, record, staged, wanted)
        progress.advance(1)
    # The chunks rows last: they commit what is in every voter's collection by now.
    restored += _restore(index, chunks, staged, None, wanted)
    broken = _broken(index, [*heads, chunks], wanted)
    incomplete, num_documents = _documents_of(index, chunks, broken)
    for collection in (chunks, *voters):
        stored = ids_in(index, collection.name)
        surplus = np.union1d(np.setdiff1d(stored, wanted), np.intersect1d(stored, incomplete))
        if len(surplus):
            index.delete(collection.name, surplus.tolist())
        removed += len(surplus)
    progress.advance(1)
    after = _recounted(record, index)
    recounted = after.to_json() != record.to_json()
    if recounted:
        index.write_record(after)
    progress.finish()
    log.info("version_repaired version=%s rows=%d removed=%d", record.version, restored, removed)
    return Repaired(after, restored, removed, num_documents, recounted)


def _restore(
    index: VersionRows,
    collection: CollectionSpec,
    staged: StagedVersion | None,
    head: Head | None,
    wanted: NDArray[np.int64],
) -> int:
    """Writes the rows that are missing or have another vector than staging; returns how many."""
    if staged is None:
        return 0
    num_rows = 0
    for table in staged.tables(head, wanted):
        ids = table.column("chunk_id").to_numpy()
        vectors = vector_matrix(table.column("vector")).astype(np.float32)
        stored = index.vectors(collection.name, ids.tolist())
        differing = [
            row
            for row, chunk_id in enumerate(ids.tolist())
            if chunk_id not in stored or not np.allclose(stored[chunk_id], vectors[row], rtol=1e-5)
        ]
        if differing:
            index.upsert(collection, table.take(np.array(differing)))
            num_rows += len(differing)
    return num_rows


def _restore_words(
    index: VersionRows,
    words: CollectionSpec,
    record: VersionRecord,
    staged: StagedVersion | None,
    wanted: NDArray[np.int64],
) -> int:
    """Writes the words that are missing or other ones; returns of how many chunks.

    From the chunks rows, which hold title and text; from staging where those are missing too.
    """
    num_rows = 0
    for rows in stale_words(index, words, record, wanted):
        index.write_words(words, rows)
        num_rows += len(rows)
    missing = np.setdiff1d(wanted, ids_in(index, words.name))
    if staged is not None and len(missing):
        for table in staged.tables(None, missing):
            index.upsert(words, table)
            num_rows += table.num_rows
    return num_rows


def _broken(
    index: Rows, collections: list[CollectionSpec], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Chunks that some collection lacks, or has with a vector that cannot be used."""
    broken = np.zeros(0, np.int64)
    for collection in collections:
        stored = ids_in(index, collection.name)
        _, unusable = sums_in(index, collection.name, stored, collection.dim)
        broken = np.union1d(broken, np.union1d(np.setdiff1d(wanted, stored), unusable))
    return broken


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
    ids = ids_in(index, chunks_collection)
    documents = {mark.document_id for block in index.marks(chunks_collection) for mark in block}
    heads = [
        sums_in(index, collection, ids, record.encoder.head_dim)[0]
        for collection in record.head_collections()
    ]
    sums = ImportanceSums(
        len(ids),
        np.concatenate([head.norm_sum for head in heads]),
        np.concatenate([head.unit_sum for head in heads]),
    )
    # Sums that agree stay as recorded, to the last bit: a repair of a whole version writes nothing.
    is_counted_right = bool(matching_heads(record.sums, heads).all())
    return replace(
        record,
        sums=record.sums if is_counted_right else sums,
        num_chunks=len(ids),
        num_documents=len(documents),
        pending="",
    )
