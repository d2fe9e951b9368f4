"""Compares a version with its record and its staging, row by row.

Memory: the ids of one collection, 8 bytes a row, and those of the chunks.
Shape legend: N chunks, H heads, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import Progress, ReadableVersion, Rows
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.stages.versions.stored_rows import (
    counted_ids,
    matching_heads,
    stale_words,
    sums_in,
    words_of_version,
)

_EXAMPLES = 3
_UNUSABLE = "vectors that are zero, NaN or infinite"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    where: str
    what: str
    count: int
    examples: tuple[int, ...] = ()

    def __str__(self) -> str:
        examples = f", such as {', '.join(map(str, self.examples))}" if self.examples else ""
        return f"{self.where}: {self.count:,} {self.what}{examples}"


@dataclass(frozen=True, slots=True)
class Audit:
    """What was checked, and what is wrong."""

    version: str
    chunks: int
    collections: int
    staged_shards: int  # whose every file was read and hashed; 0 if staging is not here
    findings: tuple[Finding, ...]


def audit(
    record: VersionRecord,
    staged: StagedVersion | None,
    index: ReadableVersion,
    progress: Progress,
) -> Audit:
    """Every chunk in every head, every vector usable, counts and importance as recorded."""
    chunks_collection = record.chunks_collection()
    num_collections = len(record.collections())
    progress.phase("audit", num_collections, "collections")
    chunk_ids, findings = _ids(index, chunks_collection)
    findings += _counts(record, index, chunk_ids)
    sums: list[ImportanceSums] = []
    for collection in record.head_collections():
        ids, repeated = _ids(index, collection)
        findings += repeated
        findings += _finding(collection, "chunks that it lacks", np.setdiff1d(chunk_ids, ids))
        findings += _finding(collection, "rows of no chunk", np.setdiff1d(ids, chunk_ids))
        head_sums, unusable = sums_in(index, collection, ids, record.encoder.head_dim)
        findings += _finding(collection, _UNUSABLE, unusable)
        sums.append(head_sums)
        progress.advance(1)
    if record.lexical is not None:
        findings += _words(record, index, chunk_ids)
        progress.advance(1)
    _, unusable = sums_in(index, chunks_collection, chunk_ids, record.encoder.standard_dim)
    findings += _finding(chunks_collection, _UNUSABLE, unusable)
    progress.advance(1)
    findings += [
        Finding(str(head), "importance sums that are not its vectors'", 1)
        for head, matches in zip(
            record.encoder.heads, matching_heads(record.sums, sums), strict=True
        )
        if not matches
    ]
    progress.finish()
    shards, damaged = (0, []) if staged is None else _staging(record, staged, chunk_ids)
    return Audit(record.version, len(chunk_ids), num_collections, shards, (*findings, *damaged))


def _words(
    record: VersionRecord, index: ReadableVersion, chunk_ids: NDArray[np.int64]
) -> list[Finding]:
    """The lexical collection against the chunks rows."""
    words = words_of_version(record)
    if not index.count(words.name):
        return _finding(words.name, "chunks that it lacks", chunk_ids)
    ids, findings = _ids(index, words.name)
    findings += _finding(words.name, "rows of no chunk", np.setdiff1d(ids, chunk_ids))
    stale = [row.id for rows in stale_words(index, words, record, chunk_ids) for row in rows]
    what = "chunks that it lacks, or has with other words"
    return findings + _finding(words.name, what, np.array(stale, np.int64))


def _counts(record: VersionRecord, index: Rows, chunk_ids: NDArray[np.int64]) -> list[Finding]:
    """What the chunks collection says against the record."""
    findings = []
    collection = record.chunks_collection()
    if record.pending:
        findings.append(Finding(record.version, "sync cut short: run `mrag sync`", 1))
    if len(chunk_ids) != record.num_chunks:
        what = f"chunks, where the record says {record.num_chunks:,}"
        findings.append(Finding(collection, what, len(chunk_ids)))
    marks = index.marks(collection) if len(chunk_ids) else ()
    documents = {mark.document_id for block in marks for mark in block}
    if len(documents) != record.num_documents:
        what = f"documents, where the record says {record.num_documents:,}"
        findings.append(Finding(collection, what, len(documents)))
    return findings


def _staging(
    record: VersionRecord, staged: StagedVersion, chunk_ids: NDArray[np.int64]
) -> tuple[int, list[Finding]]:
    """Reads every staged file, which compares its hash; then compares the ids with the index."""
    findings: list[Finding] = []
    shards = 0
    for name, shard, staging in staged.shards():
        try:
            staging.chunks(shard)
            staging.sums(shard)
            staging.documents(shard)
            staging.dead_letters(shard)
            for head in record.encoder.heads:
                staging.head(shard, head)
            shards += 1
        except MragError as error:
            findings.append(Finding(f"staging {name}", error.found, 1))
    if not findings and not record.pending:
        staged_ids = staged.chunk_ids()
        findings += _finding(
            "chunks", "staged and not indexed", np.setdiff1d(staged_ids, chunk_ids)
        )
        findings += _finding(
            "chunks", "indexed and not staged", np.setdiff1d(chunk_ids, staged_ids)
        )
    return shards, findings


def _ids(index: Rows, collection: str) -> tuple[NDArray[np.int64], list[Finding]]:
    if not index.count(collection):  # the collection may be missing
        return np.zeros(0, np.int64), []
    ids, counts = counted_ids(index, collection)
    return ids, _finding(collection, "ids that are there twice", ids[counts > 1])


def _finding(where: str, what: str, ids: NDArray[np.int64]) -> list[Finding]:
    """One finding about these ids; none if there are none."""
    if not len(ids):
        return []
    return [Finding(where, what, len(ids), tuple(ids[:_EXAMPLES].tolist()))]
