"""Compares the corpus with the live version, and stores what a sync has to do before it does it.

Documents are compared by fingerprint, by items that read the corpus (`item_comparison.py`). A
database that has a column of updates is asked by it which rows need not be read
(`streamed_comparison.py`, docs/decisions/0108-a-sync-reads-rows-that-can-have-changed.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from mrag_pipeline.domain.corpus_difference import CorpusDifference
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.run_limits import check_dead_letters, too_many_deleted
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import FingerprintMismatch, TooManyDeleted
from mrag_pipeline.ports import (
    ChangesReader,
    CorpusReader,
    DeltaStaging,
    OpenPool,
    Progress,
    ReadableVersion,
    ReadCache,
)
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.sync import SyncSpec
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.sync.compare_items import CorpusComparer
from mrag_pipeline.stages.sync.delta import settle
from mrag_pipeline.stages.sync.item_comparison import ItemComparison
from mrag_pipeline.stages.sync.streamed_comparison import StreamedComparison
from mrag_pipeline.stages.sync.unread_files import UnreadFiles, cache_key


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
    files: int = 0  # of the corpus; 0 where it is something else
    unread_files: int = 0  # those that were not read: they have not changed


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
    index: ReadableVersion,
    staging: DeltaStaging,
    spec: SyncSpec,
    ingest: IngestSpec,
    scope: SyncScope,
    progress: Progress,
    open_pool: OpenPool = in_this_process,
    is_shared: bool = False,
    cache: ReadCache | None = None,
) -> SyncComparison:
    """Stores in staging what is new or changed and what is to be removed; changes no index.

    If the same difference was stored before, its sync continues where it stopped.

    Args:
        open_pool: where the corpus is read, and the index too if `is_shared`: the result is the
            same.
        cache: what the last sync has read of files; None reads all, and keeps nothing.
    Raises: TooManyDeleted, TooManyDeadLetters, StorageFull; EmptyCorpus and what the reader raises.
    """
    reading = record.reading()
    is_streamed = False
    if isinstance(reader, ChangesReader) and scope.only is None:
        # Before anything is read: what changes meanwhile is newer.
        reading = reader.reading()
        # What was pushed differs from rows that have not changed.
        is_streamed = reader.knows_changes() and not scope.full and not record.pushes
    collection = record.chunks_collection()
    with ExitStack() as held:
        comparison: ItemComparison | StreamedComparison
        files: UnreadFiles | None = None
        if is_streamed and isinstance(reader, ChangesReader):
            comparison = StreamedComparison(reader, index, collection, staging, spec, progress)
        else:
            work = CorpusComparer(collection, reader, staging, index, scope.only)
            # What is not meant is compared otherwise.
            files = UnreadFiles(
                cache if scope.only is None else None, cache_key(reading), progress, scope.full
            )
            comparison = ItemComparison(work, open_pool, progress, is_shared, files)
        held.callback(comparison.close)
        comparison.read()
        if files is not None and files.num_unread:
            progress.note(f"{files.num_unread:,} of {files.num_files:,} files unchanged, not read")
        read_so = record.with_reading(reading)
        settled = _settled(read_so, comparison, staging, spec, ingest, scope, progress)
        if files is not None:
            settled = replace(settled, files=files.num_files, unread_files=files.num_unread)
        return replace(settled, reading=reading)


def _settled(
    record: VersionRecord,
    comparison: ItemComparison | StreamedComparison,
    staging: DeltaStaging,
    spec: SyncSpec,
    ingest: IngestSpec,
    scope: SyncScope,
    progress: Progress,
) -> SyncComparison:
    tally = comparison.tally
    num_removed = 0 if scope.only is not None else tally.known - tally.seen_known
    num_files = comparison.num_unread_files
    if num_removed and num_files:
        progress.note(
            f"{num_removed:,} documents not found are kept: {num_files} file(s) cannot be read"
        )
        num_removed = 0
    difference = CorpusDifference(
        added=tally.added,
        changed=tally.changed,
        removed=num_removed,
        unchanged=tally.known - num_removed - tally.changed,
        num_dead_letters=comparison.num_dead,
    )
    progress.note(
        f"{difference.added:,} new, {difference.changed:,} changed, {difference.removed:,} gone, "
        f"{difference.unchanged:,} unchanged documents"
    )
    check_dead_letters(ingest, difference.num_dead_letters, tally.seen, "nothing was changed")
    if not scope.allow_deletes and too_many_deleted(spec, num_removed, tally.known):
        found = f"{num_removed:,} of {tally.known:,} documents are no longer in the corpus"
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
    slices, marks = comparison.store(is_gone_removed=num_removed > 0)
    manifest = None
    if not difference.is_empty:
        # What was pushed before is in the corpus now, or is undone: a part of it proves nothing.
        pushes = record.pushes if scope.only is not None else 0
        manifest = settle(record, slices, marks, staging, pushes)
    return SyncComparison(difference, manifest, tuple(comparison.dead), comparison.remarks)


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


def _differing(actual: Any, expected: Any) -> str:
    if not isinstance(actual, dict):
        return f": {actual} instead of {expected}"
    names = [n for n in expected | actual if actual.get(n) != expected.get(n)]
    return f" ({', '.join(names)} differ)"
