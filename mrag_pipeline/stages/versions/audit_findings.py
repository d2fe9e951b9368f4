"""What an audit reports of what its items found: rows, ids, counts, searches, staged files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing

import numpy as np

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import AuditedVersion, HasCapabilities, Rows
from mrag_pipeline.stages.sorted_ids import SortedIds, lacking
from mrag_pipeline.stages.versions.findings import Finding, finding_of, findings_in
from mrag_pipeline.stages.versions.row_checks import CheckedRows
from mrag_pipeline.stages.versions.row_items import RowChecker, Searched, ShardRead
from mrag_pipeline.stages.versions.search_recall import lowered, recall_findings
from mrag_pipeline.stages.versions.staged_version import StagedShard, StagedVersion
from mrag_pipeline.stages.versions.stored_rows import matching_heads

_UNUSABLE = "vectors that are zero, NaN or infinite"
_ALTERED_ROW = "chunks whose text or metadata are not what was written"
_ALTERED_VECTOR = "vectors that are not what was written"
_ALTERED_WORDS = "chunks that it lacks, or has with other words"


def row_findings(record: VersionRecord, checked: CheckedRows) -> list[Finding]:
    """Rows that are not what was written."""
    findings: list[Finding] = []
    chunks, words = record.chunks_collection(), record.lexical_collection()
    for collection in (chunks, *record.collections()[:-1]):
        what = {chunks: _ALTERED_ROW, words: _ALTERED_WORDS}.get(collection, _ALTERED_VECTOR)
        findings += findings_in(collection, "chunks that it lacks", checked.missing)
        findings += findings_in(collection, what, checked.altered)
        findings += findings_in(collection, _UNUSABLE, checked.unusable)
        if collection == chunks:
            findings += findings_in(collection, _ALTERED_VECTOR, checked.altered_standard)
            bad = np.array(checked.bad_proofs, np.int64)
            findings += finding_of(collection, "proofs that cannot be read", bad)
    return findings


def search_findings(
    record: VersionRecord, index: AuditedVersion, searched: Sequence[Searched]
) -> tuple[list[Finding], float | None]:
    """What is wrong with searches, and the lowest recall of any collection if it was measured."""
    of_collections = {one.collection: one for one in searched}
    collections = (*record.head_collections(), record.chunks_collection())
    in_order = [of_collections[name] for name in collections if name in of_collections]
    lost = {one.collection: one.unfound for one in in_order if one.unfound}
    findings = [
        finding
        for collection in lost
        for finding in findings_in(collection, "vectors that a search does not find", lost)
    ]
    measured = {one.collection: one.recall for one in in_order if one.recall is not None}
    findings += recall_findings(record, lowered(record, index, measured))
    return findings, min((recall.share for recall in measured.values()), default=None)


def misled_collections(
    record: VersionRecord, index: HasCapabilities, searched: Sequence[Searched]
) -> frozenset[str]:
    """The collections whose searches do not find what they store, exact or approximate."""
    unfound = {one.collection for one in searched if one.unfound}
    measured = {one.collection: one.recall for one in searched if one.recall is not None}
    return frozenset({*unfound, *lowered(record, index, measured)})


def count_findings(record: VersionRecord, chunk_ids: SortedIds) -> list[Finding]:
    """What the chunks collection holds against the record."""
    findings = _repeated(record.chunks_collection(), chunk_ids)
    if record.pending:
        findings.append(Finding(record.version, "sync cut short: run `mrag sync`", 1))
    if record.is_in_repair():
        findings.append(Finding(record.version, "repair cut short: run `mrag repair`", 1))
    if len(chunk_ids) != record.num_chunks:
        what = f"chunks, where the record says {record.num_chunks:,}"
        findings.append(Finding(record.chunks_collection(), what, len(chunk_ids)))
    return findings


def document_findings(record: VersionRecord, num_documents: int) -> list[Finding]:
    """Their number against the record."""
    if num_documents != record.num_documents:
        what = f"documents, where the record says {record.num_documents:,}"
        return [Finding(record.chunks_collection(), what, num_documents)]
    return []


def id_findings(index: Rows, collection: str, chunk_ids: SortedIds) -> list[Finding]:
    """A collection's ids against those of the chunks."""
    with closing(SortedIds(index.ids(collection))) as ids:
        return [
            *_repeated(collection, ids),
            *finding_of(collection, "chunks that it lacks", lacking(chunk_ids, ids)),
            *finding_of(collection, "rows of no chunk", lacking(ids, chunk_ids)),
        ]


def sums_findings(
    record: VersionRecord, checked: CheckedRows, damaged: Collection[str]
) -> list[Finding]:
    """The record's importance sums against those of the vectors that were read.

    Args:
        damaged: collections that could not be read.
    """
    matches = matching_heads(record.sums, checked.sums)
    return [
        Finding(str(head), "importance sums that are not its vectors'", 1)
        for head, collection, is_right in zip(
            record.encoder.heads, record.head_collections(), matches, strict=True
        )
        if not is_right and collection not in damaged
    ]


def staging_findings(
    record: VersionRecord,
    staged: StagedVersion,
    checker: RowChecker,
    read: Mapping[StagedShard, ShardRead],
    chunk_ids: SortedIds,
) -> tuple[int, list[Finding]]:
    """What is wrong with staged files; if nothing is, their ids are compared with the index.

    Args:
        checker: of this process: it reads the shards that workers do not reach or find damaged.
            A worker may have an older folder at the same path, or its object store an error.
        read: by workers, or here.
    Returns: how many shards are whole, and the findings.
    """
    findings: list[Finding] = []
    shards = 0
    for shard in staged.shards():
        answer = read[shard]
        if not answer.is_here or answer.damage is not None:
            answer = checker.shard(shard)
        if answer.damage is None:
            shards += 1
            continue
        where = f"staging {staged.describe(shard)}"
        findings.append(Finding(where, f"shard that cannot be read: {answer.damage}", 1))
    if not findings and not record.pending:
        with closing(SortedIds(staged.chunk_ids())) as staged_ids:
            for what, ids in (
                ("staged and not indexed", lacking(staged_ids, chunk_ids)),
                ("indexed and not staged", lacking(chunk_ids, staged_ids)),
            ):
                findings += finding_of("chunks", what, ids)
    return shards, findings


def _repeated(collection: str, ids: SortedIds) -> list[Finding]:
    return finding_of(collection, "ids that are there twice", ids.twice)
