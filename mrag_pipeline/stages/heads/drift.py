"""Compares the neighbours of the same chunks in two versions, head by head.

A chunk is the same if both versions have it by id, which names its document, place and text; else
the chunk of the same unchanged document that covers most of it. Only neighbours whose document
both versions have unchanged are compared: what a corpus gained or lost is counted apart.
Shape legend: S sampled chunks, k neighbours of a chunk.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.head_study import Drift
from mrag_pipeline.domain.neighbours import Neighbours, also_in
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.voter_groups import Voter, interval
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import ChunkRow, Progress
from mrag_pipeline.stages.heads.nearest import (
    DocumentNumbers,
    NearestDocuments,
    StudiedIndex,
    read_rows,
    stored_vectors,
)


def drift_from(
    record: VersionRecord,
    other: VersionRecord,
    index: StudiedIndex,
    sample: Sequence[ChunkRow],
    voters: Sequence[Voter],
    documents: DocumentNumbers,
    k: int,
    progress: Progress,
) -> Drift:
    """How far the other version keeps the neighbours that this one has.

    Args:
        voters: this version's heads, standard vector and BM25, with the sample's neighbours.
        documents: this version's, whose numbers the other's documents get too.
        k: neighbours of a chunk.
    Raises: ConfigError if the versions share too few of the sampled chunks.
    """
    partners = _partners(index, other, sample)
    rows = [place for place, row in enumerate(sample) if row.id in partners]
    if len(rows) < 2:
        raise ConfigError(
            f"{len(rows)} of {len(sample)} sampled chunks are in {other.version} too",
            "documents that both versions have, with the same text",
            "compare versions of the same corpus",
        )
    there = [partners[sample[place].id] for place in rows]
    ids = [row.id for row in there]
    num_heads = len(other.encoder.heads)
    total = (num_heads + 1 + (other.lexical is not None)) * len(ids)
    progress.phase("drift", total, "searches")
    search = NearestDocuments(index, other, there, k, progress, documents.numbers)
    head_vectors = [stored_vectors(index, name, ids) for name in other.head_collections()]
    standard = stored_vectors(index, other.chunks_collection(), ids)
    heads_there, _ = search.of_heads(head_vectors)
    names, others_there = search.of_others(standard)
    progress.finish()
    found_there = dict(zip(map(str, other.encoder.heads), heads_there, strict=True))
    found_there |= dict(zip(names, others_there, strict=True))
    found_here = {
        voter.name: Neighbours(voter.neighbours.documents[rows], voter.neighbours.chunks[rows])
        for voter in voters
    }
    shared = _unchanged(index, record, other, [*found_here.values(), *found_there.values()],
                        documents)  # fmt: skip
    only_here = _share_outside(list(found_here.values()), shared)
    only_there = _share_outside(list(found_there.values()), shared)
    here = {name: _among(found, shared) for name, found in found_here.items()}
    those = {name: _among(found, shared) for name, found in found_there.items()}
    heads_here = [str(head) for head in record.encoder.heads]
    names_there = [str(head) for head in other.encoder.heads]
    both = [name for name in here if name in those]
    kept = {name: _kept(here[name], those[name]) for name in both}
    of_heads = [kept[name] for name in both if name in heads_here]
    return Drift(
        version=other.version,
        same_encoder=record.encoder.identity() == other.encoder.identity(),
        num_chunks=len(rows),
        num_missing=len(sample) - len(rows),
        only_here=only_here,
        only_there=only_there,
        overlap={name: own for name in both if (own := interval(kept[name])) is not None},
        mean_of_heads=interval(np.mean(of_heads, axis=0)) if of_heads else None,
        heads_here=tuple(heads_here),
        heads_there=tuple(names_there),
        matrix=tuple(
            tuple(_mean(_kept(here[row], those[column])) for column in names_there)
            for row in heads_here
        ),
    )


def _partners(
    index: StudiedIndex, other: VersionRecord, sample: Sequence[ChunkRow]
) -> dict[int, ChunkRow]:
    """The other version's chunk for each sampled one that it has, by the sampled one's id."""
    collection = other.chunks_collection()
    partners = {row.id: row for row in read_rows(index, collection, [row.id for row in sample])}
    missing = [row for row in sample if row.id not in partners]
    if not missing:
        return partners
    wanted = {row.document_id: row.fingerprint for row in missing}
    chunk_ids = [
        mark.id
        for block in index.marks(collection)
        for mark in block
        if mark.fingerprint and wanted.get(mark.document_id) == mark.fingerprint
    ]
    candidates: dict[str, list[ChunkRow]] = {}
    for row in read_rows(index, collection, chunk_ids):
        candidates.setdefault(row.document_id, []).append(row)
    for row in missing:
        of_document = candidates.get(row.document_id, [])
        if of_document:
            covered = [(_common(row, own), -own.ordinal) for own in of_document]
            nearest = of_document[covered.index(max(covered))]
            if _common(row, nearest) > 0:
                partners[row.id] = nearest
    return partners


def _common(row: ChunkRow, other: ChunkRow) -> int:
    """Characters of their document that both chunks cover; 0 or less if none."""
    return min(row.end, other.end) - max(row.start, other.start)


def _unchanged(
    index: StudiedIndex,
    record: VersionRecord,
    other: VersionRecord,
    found: Sequence[Neighbours],
    documents: DocumentNumbers,
) -> NDArray[np.int64]:
    """The numbers of those found documents that both versions have with the same content."""
    numbers = np.unique(np.concatenate([own.documents[own.is_hit] for own in found]))
    names = documents.names()
    wanted = {names[number] for number in numbers.tolist()}
    here = _fingerprints(index, record.chunks_collection(), wanted)
    there = _fingerprints(index, other.chunks_collection(), wanted)
    same = [documents.number(name) for name in wanted if here.get(name, "") == there.get(name)]
    return np.array(sorted(same), np.int64)


def _fingerprints(index: StudiedIndex, collection: str, wanted: Collection[str]) -> dict[str, str]:
    return {
        mark.document_id: mark.fingerprint
        for block in index.marks(collection)
        for mark in block
        if mark.document_id in wanted
    }


def _among(found: Neighbours, numbers: NDArray[np.int64]) -> Neighbours:
    """The neighbours among these documents; others become padding, where they stood."""
    stays = np.isin(found.documents, numbers)
    return Neighbours(np.where(stays, found.documents, -1), np.where(stays, found.chunks, -1))


def _share_outside(found: Sequence[Neighbours], numbers: NDArray[np.int64]) -> float:
    total = sum(int(own.is_hit.sum()) for own in found)
    inside = sum(int(np.isin(own.documents[own.is_hit], numbers).sum()) for own in found)
    return 1.0 - inside / total if total else 0.0


def _kept(here: Neighbours, there: Neighbours) -> NDArray[np.float64]:
    """(S,): shared neighbours over those of the shorter list; NaN where a list is empty."""
    shorter = np.minimum(here.is_hit.sum(axis=1), there.is_hit.sum(axis=1))
    shared = also_in(here, [there]).sum(axis=1)
    kept: NDArray[np.float64] = np.where(shorter > 0, shared / np.maximum(shorter, 1), np.nan)
    return kept


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0
