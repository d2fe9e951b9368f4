"""Brings a settled difference into the live version, by writes that can be repeated.

Within a live version the chunks row is the commit record: adding writes heads first and the
chunks rows last, removing deletes the chunks rows first. The version's record says before the
first of these writes that a sync is under way, and after the last what it resulted in; so a killed
sync is known, and its sums are counted exactly once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.pushes import remembered
from mrag_pipeline.domain.run_limits import check_dead_letters
from mrag_pipeline.domain.version import PUSH_KEY, PUSHES, VersionRecord
from mrag_pipeline.errors import FingerprintMismatch, StagingError, TooFewChunks
from mrag_pipeline.ports import CollectionSpec, DeltaStaging, Mark, Progress, VersionRows
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.sync.changed_sums import Added, sums_in_index
from mrag_pipeline.stages.sync.collisions import set_colliding_aside
from mrag_pipeline.stages.version_collections import collections_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a sync did."""

    record: VersionRecord
    chunks_added: int
    chunks_removed: int


def unfinished(record: VersionRecord, staging: DeltaStaging) -> Manifest | None:
    """The plan of the sync that was cut short while it changed the index; None if none was.

    Args:
        staging: of the record's next sync.
    Raises: StagingError if a sync was cut short and its plan is not here.
    """
    if not record.pending:
        return None
    manifest = staging.manifest()
    if manifest is None or manifest.fingerprint != record.pending:
        raise StagingError(
            f"a sync of {record.version} was cut short, and its plan is not in "
            + staging.describe(),
            "the staging folder that the sync began with",
            "run `mrag sync` with that staging.uri; if it is lost, `mrag ingest` builds anew",
        )
    return manifest


def finish(
    record: VersionRecord,
    staging: DeltaStaging,
    index: VersionRows,
    spec: IngestSpec,
    progress: Progress,
) -> tuple[VersionRecord, bool]:
    """Finishes the version's interrupted sync, if there is one.

    Args:
        staging: of the record's next sync.
    Returns: the version's record, and whether a sync was finished.
    Raises: as `unfinished` and `apply`.
    """
    manifest = unfinished(record, staging)
    if manifest is None:
        return record, False
    progress.note(f"finishing sync {record.syncs + 1}, which was interrupted")
    return apply(record, manifest, staging, index, None, spec, progress).record, True


def apply(
    record: VersionRecord,
    manifest: Manifest,
    staging: DeltaStaging,
    index: VersionRows,
    num_dead_letters: int | None,
    spec: IngestSpec,
    progress: Progress,
) -> Applied:
    """The version holds what the manifest says; running it again after a kill gives the same.

    A document of which a chunk's id is another chunk's is left out (decision 67).

    Args:
        num_dead_letters: of the corpus as compared, those of the embedded documents not
            counted; None leaves the record's.
        spec: the share of dead letters that is allowed.
    Raises: StagingError, VerifyFailed, TooFewChunks, TooManyDeadLetters before anything is
        changed; IndexBusy, IndexUnavailable.
    """
    if record.pending not in ("", manifest.fingerprint):
        raise FingerprintMismatch(
            f"another sync of {record.version} is unfinished", "this one", "run `mrag sync`"
        )
    *voters, chunks = collections_of(record)
    progress.phase("apply", 2 * len(voters) + 2, "collections")
    marks = staging.removed()
    num_removed_documents = len({mark.document_id for mark in marks})
    removed_sums = staging.removed_sums()
    if removed_sums is None:
        if record.pending:
            raise StagingError(
                f"the sums of what sync {record.syncs + 1} removes are not in "
                + staging.describe(),
                "the sums as they were before the index was changed",
                "restore that folder, or run `mrag ingest`: it builds a new version",
            )
        removed_sums = _settle(record, manifest, staging, index, num_dead_letters, spec, progress)
    added = Added.of(manifest, staging, record)
    sums = record.sums + added.sums - removed_sums
    if sums.num_chunks < 1:
        raise TooFewChunks(
            f"no chunk would be left in {record.version}", "at least 1", "check corpus.uri"
        )
    if not record.pending:
        record = replace(record, pending=manifest.fingerprint)
        index.write_record(record)
    _write_rows(record, manifest, staging, index, voters, chunks, progress)
    _delete_rows(marks, added, index, voters, chunks, progress)
    record = replace(
        record,
        sums=sums,
        num_documents=record.num_documents + added.documents - num_removed_documents,
        num_chunks=sums.num_chunks,
        num_dead_letters=record.num_dead_letters
        if num_dead_letters is None
        else num_dead_letters + added.dead_letters,
        syncs=record.syncs + 1,
        synced_at=datetime.now(UTC).isoformat(timespec="seconds"),
        pending="",
        pushes=int(manifest.corpus.get(PUSHES, 0)),
        push_keys=remembered(record.push_keys, str(manifest.corpus.get(PUSH_KEY, ""))),
    ).with_reading(manifest.reading())
    # The record last: it counts the sums, and that must happen once.
    index.write_record(record)
    staging.finish()
    progress.finish()
    log.info(
        "version_synced version=%s sync=%d chunks_added=%d chunks_removed=%d",
        record.version,
        record.syncs,
        len(added.ids),
        len(marks),
    )
    return Applied(record, len(added.ids), len(marks))


def found_equal(
    record: VersionRecord, reading: Mapping[str, Any], index: VersionRows
) -> VersionRecord:
    """The record of a version that a sync found equal to its corpus: the corpus has all pushes.

    Args:
        reading: how the corpus was read, and up to when its changes are known.
    """
    equal = replace(record, pushes=0).with_reading(reading)
    if equal.pushes != record.pushes or equal.config is not record.config:
        index.write_record(equal)
    return equal


def _settle(
    record: VersionRecord,
    manifest: Manifest,
    staging: DeltaStaging,
    index: VersionRows,
    num_dead_letters: int | None,
    spec: IngestSpec,
    progress: Progress,
) -> ImportanceSums:
    """Stores what can only be read before the index changes; returns the sums of what goes."""
    marks = staging.removed()
    removed = [mark.id for mark in marks]
    collection = record.chunks_collection()
    Added.of(manifest, staging, record)  # every shard is staged
    letters = set_colliding_aside(manifest, staging, index, collection, removed)
    if letters:
        progress.note(
            f"{len(letters)} documents left out: a chunk of theirs has another chunk's id"
        )
        added = Added.of(manifest, staging, record)
        num_removed_documents = len({mark.document_id for mark in marks})
        check_dead_letters(
            spec,
            (num_dead_letters or 0) + added.dead_letters,
            record.num_documents + added.documents - num_removed_documents,
            "nothing was changed",
        )
    removed_sums = sums_in_index(record, index, removed)
    staging.write_removed_sums(removed_sums)
    return removed_sums


def _write_rows(
    record: VersionRecord,
    manifest: Manifest,
    staging: DeltaStaging,
    index: VersionRows,
    voters: Sequence[CollectionSpec],
    chunks: CollectionSpec,
    progress: Progress,
) -> None:
    """Writes the heads, then the words if there are any; the chunks rows, which commit, last."""
    heads = record.encoder.heads
    for head, collection in zip(heads, voters[: len(heads)], strict=True):
        for shard in manifest.shards:
            index.upsert(collection, staging.head(shard.index, head))
        progress.advance(1)
    for collection in (*voters[len(heads) :], chunks):
        for shard in manifest.shards:
            index.upsert(collection, staging.chunks(shard.index))
        progress.advance(1)


def _delete_rows(
    marks: Sequence[Mark],
    added: Added,
    index: VersionRows,
    voters: Sequence[CollectionSpec],
    chunks: CollectionSpec,
    progress: Progress,
) -> None:
    stale = sorted({mark.id for mark in marks} - set(added.ids.tolist()))
    for collection in (chunks, *voters):
        if stale:
            index.delete(collection.name, stale)
        progress.advance(1)
