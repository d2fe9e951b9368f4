"""Writes the rows of a version that are not as staging, or the chunks rows, have them.

Shape legend: N rows of a shard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.proofs import PROOF, UNPROVEN, row_hash
from mrag_pipeline.ports import CollectionSpec, Rows, VersionRows
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.stages.ingest.load import staged_rows
from mrag_pipeline.stages.sorted_ids import SortedIds
from mrag_pipeline.stages.versions.repair_changes import RepairChanges
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.stages.versions.stored_rows import (
    chunk_of,
    ids_twice,
    staged_chunks,
    stale_words,
)

if TYPE_CHECKING:
    import pyarrow as pa


def restore(
    changes: RepairChanges,
    collection: CollectionSpec,
    staged: StagedVersion | None,
    head: Head | None,
) -> int:
    """Writes the rows that are missing, there twice or other than staged; returns how many."""
    if staged is None:
        return 0
    num_rows = 0
    twice = ids_twice(changes.index, collection.name)
    for table in staged.tables(head):
        differs = _other_vectors(changes.index, collection, table)
        differs |= np.isin(table["chunk_id"].to_numpy(), twice)
        if head is None:
            differs |= _other_texts(changes.index, collection, table)
        if differs.any():
            changes.begun().upsert(collection, table.take(np.flatnonzero(differs)))
            num_rows += int(differs.sum())
    return num_rows


def _other_vectors(index: Rows, collection: CollectionSpec, table: pa.Table) -> NDArray[np.bool_]:
    """(N,): for which rows the vector is missing or not the staged one, to the bit."""
    ids = table.column("chunk_id").to_pylist()
    vectors = vector_matrix(table.column("vector")).astype(np.float32)
    stored = index.vectors(collection.name, ids)
    return np.array(
        [
            chunk_id not in stored or stored[chunk_id].tobytes() != vector.tobytes()
            for chunk_id, vector in zip(ids, vectors, strict=True)
        ],
        bool,
    )


def _other_texts(
    index: VersionRows, collection: CollectionSpec, table: pa.Table
) -> NDArray[np.bool_]:
    """(N,): for which chunks rows anything but the vector is not as it is staged."""
    chunks, staged_proofs = staged_chunks(table), table.column(PROOF).to_pylist()
    ids = [chunk.id for chunk in chunks]
    rows, proofs = index.chunks(collection.name, ids), index.proofs(collection.name, ids)
    return np.array(
        [
            chunk.id not in rows
            or row_hash(chunk_of(rows[chunk.id])) != row_hash(chunk)
            or proofs[chunk.id] not in (UNPROVEN, proof)  # collections of mrag 0.1 have none
            for chunk, proof in zip(chunks, staged_proofs, strict=True)
        ],
        bool,
    )


def restore_words(
    changes: RepairChanges,
    words: CollectionSpec,
    staged: StagedVersion | None,
    wanted: SortedIds,
) -> int:
    """Writes the words that are missing, are there twice or are other ones; returns of how many.

    From staging; without it from the chunks rows, which hold title and text.
    """
    num_rows = 0
    twice = ids_twice(changes.index, words.name)
    if staged is not None:
        for table in staged.tables(None):
            ids = table["chunk_id"].to_numpy()
            stale = {*changes.index.stale_words(words, staged_rows(table))}
            stale |= {*ids[np.isin(ids, twice)].tolist()}
            if stale:
                changes.begun().upsert(words, table.filter(np.isin(ids, [*stale])))
                num_rows += len(stale)
        return num_rows
    for rows in stale_words(changes.index, words, changes.record, wanted):
        changes.begun().write_words(words, rows)
        twice = np.setdiff1d(twice, [row.id for row in rows])
        num_rows += len(rows)
    doubled = changes.index.chunks(changes.record.chunks_collection(), twice.tolist())
    if doubled:
        changes.begun().write_words(words, list(doubled.values()))
    return num_rows + len(doubled)
