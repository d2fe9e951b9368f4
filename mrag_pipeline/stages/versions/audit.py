"""Whether a version is what its record and its staging say, row by row.

Memory: the ids of one collection, 8 bytes a chunk, and those of the chunks.
Shape legend: N chunks, H heads, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import Progress, Rows
from mrag_pipeline.stages.versions.staged_version import StagedVersion

RTOL = 1e-9  # of importance and of norms: sums in another order
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    where: str
    what: str
    count: int
    examples: tuple[int, ...] = ()

    def __str__(self) -> str:
        shown = f", such as {', '.join(map(str, self.examples))}" if self.examples else ""
        return f"{self.where}: {self.count:,} {self.what}{shown}"


@dataclass(frozen=True, slots=True)
class Audit:
    """What was looked at, and what was found."""

    version: str
    chunks: int
    collections: int
    staged_shards: int  # whose every file was read and hashed; 0 if staging is not here
    findings: tuple[Finding, ...]


def audit(
    record: VersionRecord, staged: StagedVersion | None, index: Rows, progress: Progress
) -> Audit:
    """Every chunk in every head, every vector sound, counts and importance as recorded."""
    names = (*record.head_collections(), record.chunks_collection())
    progress.phase("audit", len(names), "collections")
    chunks, findings = _ids(index, record.chunks_collection())
    if record.pending:
        findings.append(Finding(record.version, "sync cut short: run `mrag sync`", 1))
    if len(chunks) != record.num_chunks:
        what = f"chunks, where the record says {record.num_chunks:,}"
        findings.append(Finding(record.chunks_collection(), what, len(chunks)))
    marks = index.marks(record.chunks_collection()) if len(chunks) else ()
    documents = {mark.document_id for block in marks for mark in block}
    if len(documents) != record.num_documents:
        what = f"documents, where the record says {record.num_documents:,}"
        findings.append(Finding(record.chunks_collection(), what, len(documents)))
    sums: list[ImportanceSums] = []
    for name in names[:-1]:
        ids, repeated = _ids(index, name)
        findings += repeated
        findings += _missing(name, "chunks that it lacks", np.setdiff1d(chunks, ids))
        findings += _missing(name, "rows of no chunk", np.setdiff1d(ids, chunks))
        head, bad = sums_of(index, name, ids, record.encoder.head_dim)
        findings += _missing(name, "vectors that are zero, NaN or infinite", bad)
        sums.append(head)
        progress.advance(1)
    _, bad = sums_of(index, names[-1], chunks, record.encoder.standard_dim)
    findings += _missing(names[-1], "vectors that are zero, NaN or infinite", bad)
    progress.advance(1)
    findings += _importance(record, sums)
    progress.finish()
    shards, damaged = (0, []) if staged is None else _staging(record, staged, chunks)
    return Audit(record.version, len(chunks), len(names), shards, (*findings, *damaged))


def sums_of(
    index: Rows, collection: str, ids: NDArray[np.int64], dim: int
) -> tuple[ImportanceSums, NDArray[np.int64]]:
    """A collection's sums (one head), and the ids whose vectors cannot be summed."""
    total = ImportanceSums.zero(1, dim)
    bad = [np.zeros(0, np.int64)]
    for at in range(0, len(ids), 4_000):
        found = index.vectors(collection, ids[at : at + 4_000].tolist())
        if not found:
            continue
        own = np.array(list(found), np.int64)
        vectors = np.array(list(found.values()), np.float32)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        sound = np.isfinite(norms) & (norms > 0)
        bad.append(own[~sound])
        total = total + ImportanceSums.of(vectors[sound][:, None, :])
    return total, np.concatenate(bad)


def _importance(record: VersionRecord, heads: list[ImportanceSums]) -> list[Finding]:
    findings = []
    for place, (head, sums) in enumerate(zip(record.encoder.heads, heads, strict=True)):
        told = record.sums
        same = sums.num_chunks == told.num_chunks and np.allclose(
            sums.norm_sum[0], told.norm_sum[place], rtol=RTOL, atol=0
        )
        # |sum u| is at most N, and that is the scale on which it is added and subtracted.
        near = np.allclose(
            sums.unit_sum[0], told.unit_sum[place], rtol=RTOL, atol=RTOL * max(1, told.num_chunks)
        )
        if not (same and near):
            findings.append(Finding(str(head), "importance sums that are not its vectors'", 1))
    return findings


def _staging(
    record: VersionRecord, staged: StagedVersion, chunks: NDArray[np.int64]
) -> tuple[int, list[Finding]]:
    """Every staged file read, which compares its hash; and the ids it should come to."""
    findings: list[Finding] = []
    shards = 0
    for place, shard, staging in staged.shards():
        try:
            staging.chunks(shard)
            staging.sums(shard)
            staging.documents(shard)
            staging.dead_letters(shard)
            for head in record.encoder.heads:
                staging.head(shard, head)
            shards += 1
        except MragError as error:
            findings.append(Finding(f"staging {place}", error.found, 1))
    if not findings and not record.pending:
        expected = staged.chunk_ids()
        findings += _missing("chunks", "staged and not indexed", np.setdiff1d(expected, chunks))
        findings += _missing("chunks", "indexed and not staged", np.setdiff1d(chunks, expected))
    return shards, findings


def _ids(index: Rows, collection: str) -> tuple[NDArray[np.int64], list[Finding]]:
    blocks = [*index.ids(collection)] if index.count(collection) else []
    ids = np.concatenate([np.zeros(0, np.int64), *blocks])
    unique, counts = np.unique(ids, return_counts=True)
    return unique, _missing(collection, "ids that are there twice", unique[counts > 1])


def _missing(where: str, what: str, ids: NDArray[np.int64]) -> list[Finding]:
    if not len(ids):
        return []
    return [Finding(where, what, len(ids), tuple(ids[:_EXAMPLES].tolist()))]
