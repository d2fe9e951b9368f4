"""Compares the corpus with the live version, and stores what a sync has to do before it does it.

Documents are compared by fingerprint. A database that has a column of updates is asked by it which
rows need not be read (docs/decisions/0108-a-sync-reads-rows-that-can-have-changed.md).
Memory: a byte a document of the version, 8 for each new one (`known_documents.py`), and the ids of
those that are changed or gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mrag_pipeline.domain.corpus_difference import CorpusDifference
from mrag_pipeline.domain.dead_letters import is_of_a_file, num_set_aside
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.planning import MAX_SHARD_BYTES
from mrag_pipeline.domain.run_limits import check_dead_letters, too_many_deleted
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import FingerprintMismatch, TooManyDeleted
from mrag_pipeline.ports import (
    ChangesReader,
    CorpusReader,
    DeltaStaging,
    Mark,
    Progress,
    Rows,
    Unchanged,
)
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.stages.sync.delta import Scan, settle
from mrag_pipeline.stages.sync.known_documents import KnownDocuments

_FEW = 100  # outdated documents are few where the version has so many times as many


@dataclass(frozen=True, slots=True)
class SyncScope:
    """Which part of the corpus a sync compares, and how much it may remove."""

    allow_deletes: bool = False  # beyond the configured share
    only: Collection[str] | None = None  # document ids or sources; then nothing is removed
    full: bool = False  # read every document, also those that cannot have changed


@dataclass(frozen=True, slots=True)
class SyncComparison:
    """The difference, and the plan if there is one."""

    difference: CorpusDifference
    manifest: Manifest | None
    dead_letters: tuple[DeadLetter, ...]
    remarks: Mapping[str, int] = field(default_factory=dict)  # documents, by what is told of them
    reading: Mapping[str, Any] = field(default_factory=dict)  # for the record, as it is then


def check_same_version(
    record: VersionRecord,
    chunking: ChunkingSpec,
    encoder: EncoderSpec,
    load_card: Callable[[], EncoderCard],
) -> None:
    """Refuses a config that chunks or embeds in another way than the version did.

    Args:
        load_card: the card of the config's encoder; called only if its settings differ from those
            that built the version, because it loads the model.
    Raises: FingerprintMismatch.
    """
    card = record.encoder if encoder == record.encoder.spec else load_card()
    for part, actual, expected in (
        ("encoder", card.identity(), record.encoder.identity()),
        ("chunking", chunking, record.chunking),
    ):
        if actual != expected:
            raise FingerprintMismatch(
                f"the config's {part} is not the one that built {record.version}"
                + _differing(actual, expected),
                "the same one: vectors of different ones cannot be compared",
                "run `mrag ingest`: it builds a new version beside the live one, then switches",
            )


def compare(
    record: VersionRecord,
    reader: CorpusReader,
    index: Rows,
    staging: DeltaStaging,
    spec: SyncSpec,
    ingest: IngestSpec,
    scope: SyncScope,
    progress: Progress,
) -> SyncComparison:
    """Stores in staging what is new or changed and what is to be removed; changes no index.

    If the same difference was stored before, its sync continues where it stopped.
    Raises: TooManyDeleted, TooManyDeadLetters; EmptyCorpus and what the reader raises.
    """
    with KnownDocuments() as known:
        return _compared(record, reader, index, staging, spec, ingest, scope, progress, known)


def _compared(
    record: VersionRecord,
    reader: CorpusReader,
    index: Rows,
    staging: DeltaStaging,
    spec: SyncSpec,
    ingest: IngestSpec,
    scope: SyncScope,
    progress: Progress,
    known: KnownDocuments,
) -> SyncComparison:
    collection = record.chunks_collection()
    for block in index.marks(collection):
        known.add(block)
    known.settle()
    progress.phase("compare", len(known), "documents")
    scan = Scan(known, staging, scope.only)
    reading = record.reading()
    items: Iterator[Document | DeadLetter | Unchanged] = read_all(reader)
    if isinstance(reader, ChangesReader) and scope.only is None:
        # Before anything is read: what changes meanwhile is newer.
        reading = reader.reading()
        # What was pushed differs from rows that have not changed.
        if not scope.full and not record.pushes:
            items = reader.changes(known.__contains__, spec.overlap_s)
    for item in items:
        scan.take(item)
        progress.advance(1)
    scan.flush()
    num_removed = 0 if scope.only is not None else known.num_unseen
    num_files = sum(map(is_of_a_file, scan.dead))
    if num_removed and num_files:
        progress.note(
            f"{num_removed:,} documents not found are kept: {num_files} file(s) cannot be read"
        )
        num_removed = 0
    difference = CorpusDifference(
        added=scan.added,
        changed=len(scan.changed),
        removed=num_removed,
        unchanged=len(known) - num_removed - len(scan.changed),
        num_dead_letters=num_set_aside(scan.dead),
    )
    progress.note(
        f"{difference.added:,} new, {difference.changed:,} changed, {difference.removed:,} gone, "
        f"{difference.unchanged:,} unchanged documents"
    )
    progress.finish()
    check_dead_letters(ingest, difference.num_dead_letters, known.num_seen, "nothing was changed")
    if not scope.allow_deletes and too_many_deleted(spec, num_removed, len(known)):
        found = f"{num_removed:,} of {len(known):,} documents are no longer in the corpus"
        fix = "check corpus.uri; to remove them all the same, run `mrag sync --allow-deletes`"
        if 2 * difference.added >= num_removed:
            found += f", and {difference.added:,} are new"
            fix = (
                "if they are the same documents, their ids have changed: set corpus.id_field, and "
                "run `mrag ingest`"
            )
        raise TooManyDeleted(
            found, f"at most {spec.max_deleted_share:.0%} (sync.max_deleted_share)", fix
        )
    _check_pushes(record, difference, scope)
    if difference.is_empty:
        return SyncComparison(difference, None, tuple(scan.dead), scan.remarks, reading)
    removed = set(known.unseen()) if num_removed else set()
    marks = _marks_of(index, collection, removed | scan.changed, len(known))
    # What was pushed before is in the corpus now, or is undone: but a part of it proves nothing.
    pushes = record.pushes if scope.only is not None else 0
    manifest = settle(record.with_reading(reading), scan.slices, marks, staging, pushes)
    return SyncComparison(difference, manifest, tuple(scan.dead), scan.remarks, reading)


def _check_pushes(record: VersionRecord, difference: CorpusDifference, scope: SyncScope) -> None:
    """Refuses to remove documents from a version whose pushed changes may not be in the corpus."""
    if not record.pushes or not difference.removed or scope.allow_deletes:
        return
    raise TooManyDeleted(
        f"{difference.removed:,} documents of {record.version} are not in the corpus, and "
        f"{record.pushes:,} change(s) were pushed since its last sync (`mrag upsert`, "
        "`mrag delete`)",
        "a corpus that holds what was pushed: a sync makes the version equal to it",
        "add them to the corpus; to remove them, run `mrag sync --allow-deletes`",
    )


def _marks_of(index: Rows, collection: str, outdated: set[str], num_known: int) -> list[Mark]:
    """The rows of these documents: of few by their ids, of many by a pass over all rows."""
    if len(outdated) <= num_known // _FEW:
        return index.marks_of(collection, sorted(outdated))
    return [
        mark for block in index.marks(collection) for mark in block if mark.document_id in outdated
    ]


def read_all(reader: CorpusReader) -> Iterator[Document | DeadLetter]:
    """Everything that the corpus holds, in its order."""
    for piece in reader.slices(MAX_SHARD_BYTES):
        yield from reader.read([piece])


def _differing(actual: Any, expected: Any) -> str:
    if not isinstance(actual, dict):
        return f": {actual} instead of {expected}"
    names = [n for n in expected | actual if actual.get(n) != expected.get(n)]
    return f" ({', '.join(names)} differ)"
