"""Compares a version with its proofs, its record and its staging, row by row or in a sample.

Rows are read and compared by items (`row_items.py`), here or on workers.
Memory: the chunks' ids, 8 bytes each; those of another collection too if they differ.
Shape legend: N chunks, H heads, D head dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.sampling import damaged_share_below, sampled
from mrag_pipeline.domain.version import VersionRecord, head_collection
from mrag_pipeline.domain.work_item import WorkItem
from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import AuditedVersion, OpenPool, Progress, Rows
from mrag_pipeline.stages.in_order import in_order
from mrag_pipeline.stages.ingest.hash_buckets import HashBuckets
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.versions.findings import Finding, finding_of, findings_in
from mrag_pipeline.stages.versions.row_checks import CheckedRows
from mrag_pipeline.stages.versions.row_items import (
    AuditAnswers,
    RowChecker,
    RowsChecked,
    Searched,
    ids_items,
    rows_items,
    search_items,
)
from mrag_pipeline.stages.versions.search_recall import lowered, not_comparable, recall_findings
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.stages.versions.stored_rows import counted_ids, matching_heads

CONFIDENCE = 0.95  # of what a sample says
_KEYS_IN_MEMORY = 250_000  # of documents, 6 MB; more wait on disk
_UNUSABLE = "vectors that are zero, NaN or infinite"
_ALTERED_ROW = "chunks whose text or metadata are not what was written"
_ALTERED_VECTOR = "vectors that are not what was written"
_ALTERED_WORDS = "chunks that it lacks, or has with other words"


@dataclass(frozen=True, slots=True)
class Audit:
    """What was checked, and what is wrong."""

    version: str
    chunks: int
    collections: int
    staged_shards: int  # whose every file was read and hashed; 0 if staging is not here
    findings: tuple[Finding, ...]
    checked: int  # chunks whose every row was read
    unproven: int  # of these, those that nothing proves but their ids and their sum
    damaged_share_below: float  # of all chunks, at a confidence of 0.95, if nothing was found
    recall_now: float | None = None  # lowest of all collections; None where searches are exact
    recall_not_comparable: str = ""  # why `recall_now` says nothing of damage


def audit(
    record: VersionRecord,
    staged: StagedVersion | None,
    index: AuditedVersion,
    progress: Progress,
    open_pool: OpenPool = in_this_process,
) -> Audit:
    """Every row is what was written, every chunk in every head, counts and importance as recorded.

    Chunks that no proof is stored for are compared with staging, if it is here.

    Args:
        open_pool: where rows are read and compared with their proofs; the result is the same.
    """
    damaged_collections, findings = _damage(record, index)
    chunks_collection = record.chunks_collection()
    is_readable = chunks_collection not in damaged_collections
    chunk_ids = np.zeros(0, np.int64)
    if is_readable:
        chunk_ids, repeated = _ids(index, chunks_collection)
        findings += repeated + _counts(record, chunk_ids)
    progress.phase("audit", len(chunk_ids), "chunks")
    others = [
        collection
        for collection in record.collections()[:-1]
        if is_readable and collection not in damaged_collections
    ]
    work = RowChecker(record, index, staged)
    of_rows = list(rows_items(record, chunk_ids, damaged_collections))
    of_searches = search_items(record, chunk_ids, damaged_collections, len(of_rows))
    of_ids = ids_items(others, len(chunk_ids), len(of_rows) + len(of_searches))
    items: list[WorkItem] = [
        *of_searches,
        *of_ids,
        *of_rows,
    ]  # the small ones last: no worker waits long then
    answers = AuditAnswers()
    with closing(open_pool(work, sum(item.num_bytes for item in items))) as pool:
        checked, num_documents = _checked(record, answers.of_rows(pool.run(items)), progress)
    if is_readable:
        findings += _documents(record, num_documents)
    expected = IdSum.of(chunk_ids)
    for collection in others:
        if answers.sums[collection] != expected:
            findings += _id_findings(index, collection, chunk_ids)
    checked.missing.clear()  # found above, by the ids
    findings += _row_findings(record, checked)
    found, recall_now = _search_findings(record, index, answers.searched)
    findings += found
    findings += [
        Finding(str(head), "importance sums that are not its vectors'", 1)
        for head, matches in zip(
            record.encoder.heads, matching_heads(record.sums, checked.sums), strict=True
        )
        if is_readable
        and not matches
        and head_collection(record.index, record.version, head) not in damaged_collections
    ]
    progress.finish()
    shards, damaged = (0, []) if staged is None else _staging(record, staged, chunk_ids)
    return Audit(
        record.version,
        len(chunk_ids),
        len(record.collections()),
        shards,
        (*findings, *damaged),
        len(chunk_ids),
        len(checked.unproven),
        0.0,
        recall_now,
        "" if recall_now is None else not_comparable(record, index),
    )


def audit_sample(
    record: VersionRecord, index: AuditedVersion, size: int, seed: int, progress: Progress
) -> Audit:
    """As `audit`, of so many chunks drawn at random; staging and importance are not looked at."""
    damaged_collections, findings = _damage(record, index)
    chunk_ids = np.zeros(0, np.int64)
    if record.chunks_collection() not in damaged_collections:
        chunk_ids, repeated = _ids(index, record.chunks_collection())
        findings += repeated + _counts(record, chunk_ids)
    sample = sampled(chunk_ids, size, seed)
    progress.phase("audit", len(sample), "chunks")
    for collection in record.collections()[:-1]:
        if collection in damaged_collections:
            continue
        num_rows = index.count(collection)
        if num_rows != len(chunk_ids):
            findings.append(Finding(collection, f"rows, for {len(chunk_ids):,} chunks", num_rows))
    work = RowChecker(record, index, None)
    answers = map(work.rows, rows_items(record, sample, damaged_collections))
    checked, _ = _checked(record, answers, progress)
    findings += _row_findings(record, checked)
    searched = list(map(work.searched, search_items(record, sample, damaged_collections)))
    found, recall_now = _search_findings(record, index, searched)
    findings += found
    progress.finish()
    return Audit(
        record.version,
        len(chunk_ids),
        len(record.collections()),
        0,
        tuple(findings),
        len(sample),
        len(checked.unproven),
        damaged_share_below(len(sample), len(chunk_ids), CONFIDENCE),
        recall_now,
        "" if recall_now is None else not_comparable(record, index),
    )


def _damage(record: VersionRecord, index: Rows) -> tuple[list[str], list[Finding]]:
    """The collections that cannot be used, and that as findings."""
    damages = {name: index.damage(name) for name in record.collections()}
    damaged = {name: why for name, why in damages.items() if why is not None}
    findings = [
        Finding(name, f"collection that is lost or damaged: {why}", 1)
        for name, why in damaged.items()
    ]
    return list(damaged), findings


def _checked(
    record: VersionRecord, answers: Iterator[RowsChecked], progress: Progress
) -> tuple[CheckedRows, int]:
    """What was found in chunks, in the order of their ids, and how many documents they are of."""
    checked = CheckedRows.nothing(record)
    with closing(HashBuckets(_KEYS_IN_MEMORY)) as documents:
        for answer in in_order(answers, lambda answer: answer.index):
            checked.add(answer.checked)
            documents.add(answer.index, answer.documents)
            progress.advance(answer.num_chunks)
        return checked, documents.num_distinct()


def _row_findings(record: VersionRecord, checked: CheckedRows) -> list[Finding]:
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


def _search_findings(
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


def _counts(record: VersionRecord, chunk_ids: NDArray[np.int64]) -> list[Finding]:
    """What the chunks collection holds against the record."""
    findings = []
    if record.pending:
        findings.append(Finding(record.version, "sync cut short: run `mrag sync`", 1))
    if record.is_in_repair():
        findings.append(Finding(record.version, "repair cut short: run `mrag repair`", 1))
    if len(chunk_ids) != record.num_chunks:
        what = f"chunks, where the record says {record.num_chunks:,}"
        findings.append(Finding(record.chunks_collection(), what, len(chunk_ids)))
    return findings


def _documents(record: VersionRecord, num_documents: int) -> list[Finding]:
    if num_documents != record.num_documents:
        what = f"documents, where the record says {record.num_documents:,}"
        return [Finding(record.chunks_collection(), what, num_documents)]
    return []


def _id_findings(index: Rows, collection: str, chunk_ids: NDArray[np.int64]) -> list[Finding]:
    ids, repeated = _ids(index, collection)
    lacking, foreign = np.setdiff1d(chunk_ids, ids), np.setdiff1d(ids, chunk_ids)
    return [
        *repeated,
        *finding_of(collection, "chunks that it lacks", lacking),
        *finding_of(collection, "rows of no chunk", foreign),
    ]


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
            what = f"shard that cannot be read: {error.found}"
            findings.append(Finding(f"staging {name}", what, 1))
    if not findings and not record.pending:
        staged_ids = staged.chunk_ids()
        findings += finding_of(
            "chunks", "staged and not indexed", np.setdiff1d(staged_ids, chunk_ids)
        )
        findings += finding_of(
            "chunks", "indexed and not staged", np.setdiff1d(chunk_ids, staged_ids)
        )
    return shards, findings


def _ids(index: Rows, collection: str) -> tuple[NDArray[np.int64], list[Finding]]:
    ids, counts = counted_ids(index, collection)
    return ids, finding_of(collection, "ids that are there twice", ids[counts > 1])
