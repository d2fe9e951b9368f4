"""Compares a version with its proofs, its record and its staging, row by row or in a sample.

Rows and staged files are read and compared by items (`row_items.py`), here or on workers.
Memory: a line for each staged shard, and what is wrong. Disk: 8 bytes a chunk and a document.
Shape legend: N chunks, H heads, D head dimension.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

from mrag_pipeline.domain.sampling import damaged_share_below
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import AuditedVersion, OpenPool, Progress, Rows
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.sorted_ids import SortedIds
from mrag_pipeline.stages.versions.audit_findings import (
    count_findings,
    document_findings,
    id_findings,
    row_findings,
    search_findings,
    staging_findings,
    sums_findings,
)
from mrag_pipeline.stages.versions.findings import Finding
from mrag_pipeline.stages.versions.row_answers import (
    OtherAnswers,
    document_keys,
    rows_in_order,
)
from mrag_pipeline.stages.versions.row_checks import CheckedRows
from mrag_pipeline.stages.versions.row_items import (
    Item,
    RowChecker,
    RowsChecked,
    Searched,
    ids_items,
    num_rows_items,
    rows_items,
    search_items,
    shard_items,
)
from mrag_pipeline.stages.versions.search_check import MOST_SEARCHED
from mrag_pipeline.stages.versions.search_recall import not_comparable
from mrag_pipeline.stages.versions.staged_version import StagedVersion
from mrag_pipeline.stages.versions.stored_rows import row_bytes

CONFIDENCE = 0.95  # of what a sample says


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
        open_pool: where rows and staged files are read; the result is the same.
    """
    damaged_collections, findings = _damage(record, index)
    with closing(_chunk_ids(record, index, damaged_collections)) as chunk_ids:
        is_readable = record.chunks_collection() not in damaged_collections
        if is_readable:
            findings += count_findings(record, chunk_ids)
        others = [
            collection
            for collection in record.collections()[:-1]
            if is_readable and collection not in damaged_collections
        ]
        work = RowChecker(record, index, staged)
        drawn = chunk_ids.sampled(MOST_SEARCHED, seed=0)
        of_searches = search_items(record, drawn, len(chunk_ids), damaged_collections)
        of_ids = ids_items(others, len(chunk_ids), len(of_searches))
        of_collections: list[Item] = [*of_searches, *of_ids]
        of_shards: Iterable[Item] = ()
        num_others, num_read = len(of_collections), len(chunk_ids)
        if staged is not None:
            of_shards = shard_items(record, staged, num_others)
            num_others += staged.num_shards()
            num_read += record.num_chunks
        of_rows = rows_items(record, chunk_ids, damaged_collections, num_others)
        progress.phase("audit", num_others + num_rows_items(chunk_ids), "items")
        num_bytes = sum(item.num_bytes for item in of_collections) + row_bytes(record) * num_read
        answers = OtherAnswers()
        with closing(open_pool(work, num_bytes)) as pool:
            # The small ones last: no worker waits long then.
            items = chain(of_collections, of_shards, of_rows)
            found_rows = answers.kept_of(pool.run(items), progress)
            checked, num_documents = _checked(record, found_rows, num_others, progress)
        if is_readable:
            findings += document_findings(record, num_documents)
        for collection in others:
            if answers.sums[collection] != chunk_ids.sum:
                findings += id_findings(index, collection, chunk_ids)
        checked.missing.clear()  # found above, by the ids
        findings += row_findings(record, checked)
        found, recall_now = search_findings(record, index, answers.searched)
        findings += found
        if is_readable:
            findings += sums_findings(record, checked, damaged_collections)
        num_shards = 0
        if staged is not None:
            num_shards, damaged = staging_findings(record, staged, work, answers.shards, chunk_ids)
            findings += damaged
        progress.finish()
        return Audit(
            record.version,
            len(chunk_ids),
            len(record.collections()),
            num_shards,
            tuple(findings),
            len(chunk_ids),
            checked.num_unproven,
            0.0,
            recall_now,
            "" if recall_now is None else not_comparable(record, index),
        )


def audit_sample(
    record: VersionRecord, index: AuditedVersion, size: int, seed: int, progress: Progress
) -> Audit:
    """As `audit`, of so many chunks drawn at random; staging and importance are not looked at."""
    damaged_collections, findings = _damage(record, index)
    with closing(_chunk_ids(record, index, damaged_collections)) as chunk_ids:
        if record.chunks_collection() not in damaged_collections:
            findings += count_findings(record, chunk_ids)
        sample = SortedIds([chunk_ids.sampled(size, seed)])
    for collection in record.collections()[:-1]:
        if collection in damaged_collections:
            continue
        num_rows = index.count(collection)
        if num_rows != len(chunk_ids):
            findings.append(Finding(collection, f"rows, for {len(chunk_ids):,} chunks", num_rows))
    work = RowChecker(record, index, None)
    with closing(sample):
        drawn = sample.sampled(MOST_SEARCHED, seed=0)
        of_searches = search_items(record, drawn, len(sample), damaged_collections)
        progress.phase("audit", num_rows_items(sample) + len(of_searches), "items")
        answers = map(work.rows, rows_items(record, sample, damaged_collections))
        checked, _ = _checked(record, answers, 0, progress)
    findings += row_findings(record, checked)
    searched: list[Searched] = []
    for item in of_searches:
        searched.append(work.searched(item))
        progress.advance(1)
    found, recall_now = search_findings(record, index, searched)
    findings += found
    progress.finish()
    return Audit(
        record.version,
        len(chunk_ids),
        len(record.collections()),
        0,
        tuple(findings),
        len(sample),
        checked.num_unproven,
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
    record: VersionRecord, answers: Iterator[RowsChecked], first_number: int, progress: Progress
) -> tuple[CheckedRows, int]:
    """What was found in chunks, in the order of their ids, and how many documents they are of.

    Args:
        first_number: of the items of rows.
    """
    checked = CheckedRows.nothing(record)
    with closing(document_keys()) as documents:
        for answer in rows_in_order(answers, first_number, documents, progress):
            checked.add(answer.checked)
        return checked, documents.count()


def _chunk_ids(record: VersionRecord, index: Rows, damaged: Collection[str]) -> SortedIds:
    """Those of the chunks collection; none if it is damaged."""
    name = record.chunks_collection()
    return SortedIds(() if name in damaged else index.ids(name))
