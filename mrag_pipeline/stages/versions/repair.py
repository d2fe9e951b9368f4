"""A version put right: from staging without re-embedding where it can be, else documents go.

A document that cannot be made whole is taken out, so that it is in all heads or in none; the
next sync brings it back. Done again after a kill, it comes to the same.
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
from mrag_pipeline.stages.ingest.load import collections_of
from mrag_pipeline.stages.versions.audit import sums_of
from mrag_pipeline.stages.versions.staged_version import StagedVersion

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
    """Every chunk in every head with a sound vector; counts and importance as they are.

    Raises: PlanRefused while a sync is unfinished; StagingError if staging is here and damaged;
        IndexBusy, IndexUnavailable.
    """
    if record.pending:
        raise PlanRefused(
            f"a sync of {record.version} was cut short: what belongs in it is not settled",
            "a version between two syncs",
            "run `mrag sync`; if its staging is lost, `mrag ingest` builds a new version",
        )
    *heads, chunks = collections_of(record.index, record.version, record.encoder)
    progress.phase("repair", len(heads) + 1, "collections")
    wanted = _ids(index, chunks.name) if staged is None else staged.chunk_ids()
    restored = removed = 0
    for head, collection in zip(record.encoder.heads, heads, strict=True):
        restored += _restore(index, collection, staged, head, wanted)
        progress.advance(1)
    # The chunks rows last: they commit what is in every head by now.
    restored += _restore(index, chunks, staged, None, wanted)
    broken = _broken(index, [*heads, chunks], wanted)
    gone, documents = _documents_of(index, chunks, broken)
    for collection in (chunks, *heads):
        there = _ids(index, collection.name)
        surplus = np.union1d(np.setdiff1d(there, wanted), np.intersect1d(there, gone))
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
    return Repaired(after, restored, removed, documents, recounted)


def _restore(
    index: VersionRows,
    collection: CollectionSpec,
    staged: StagedVersion | None,
    head: Head | None,
    wanted: NDArray[np.int64],
) -> int:
    """Rows that are missing or another vector, from staging; how many."""
    if staged is None:
        return 0
    rows = 0
    for table in staged.tables(head, wanted):
        ids = table.column("chunk_id").to_numpy()
        flat = table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = flat.reshape(len(ids), -1).astype(np.float32)
        found = index.vectors(collection.name, ids.tolist())
        differ = [
            place
            for place, chunk in enumerate(ids.tolist())
            if chunk not in found or not np.allclose(found[chunk], vectors[place], rtol=1e-5)
        ]
        if differ:
            index.upsert(collection, table.take(np.array(differ)))
            rows += len(differ)
    return rows


def _broken(
    index: Rows, collections: list[CollectionSpec], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Chunks that some collection lacks, or has with a vector that cannot be used."""
    broken = np.zeros(0, np.int64)
    for collection in collections:
        there = _ids(index, collection.name)
        _, bad = sums_of(index, collection.name, there, collection.dim)
        broken = np.union1d(broken, np.union1d(np.setdiff1d(wanted, there), bad))
    return broken


def _documents_of(
    index: Rows, chunks: CollectionSpec, broken: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
    """All chunks of the documents that a broken chunk belongs to, and how many documents."""
    if not len(broken):
        return broken, 0
    bad = set(broken.tolist())
    names = {m.document_id for b in index.marks(chunks.name) for m in b if m.id in bad}
    gone = [m.id for b in index.marks(chunks.name) for m in b if m.document_id in names]
    return np.union1d(broken, np.array(gone, np.int64)), len(names)


def _recounted(record: VersionRecord, index: Rows) -> VersionRecord:
    """The record with the counts and sums of what the index holds."""
    name = record.chunks_collection()
    ids = _ids(index, name)
    documents = {m.document_id for block in index.marks(name) for m in block}
    heads = [
        sums_of(index, one, ids, record.encoder.head_dim)[0] for one in record.head_collections()
    ]
    sums = ImportanceSums(
        len(ids),
        np.concatenate([one.norm_sum for one in heads]),
        np.concatenate([one.unit_sum for one in heads]),
    )
    close = record.sums.num_chunks == len(ids) and np.allclose(
        record.sums.unit_sum, sums.unit_sum, rtol=1e-9, atol=1e-9 * max(1, len(ids))
    )
    close = close and np.allclose(record.sums.norm_sum, sums.norm_sum, rtol=1e-9, atol=0)
    return replace(
        record,
        sums=record.sums if close else sums,
        num_chunks=len(ids),
        num_documents=len(documents),
        pending="",
    )


def _ids(index: Rows, collection: str) -> NDArray[np.int64]:
    return np.unique(np.concatenate([np.zeros(0, np.int64), *index.ids(collection)]))
