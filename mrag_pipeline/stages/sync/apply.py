"""Brings a settled difference into the live version, by writes that can be repeated.

Within a live version the chunks row is the commit record: adding writes heads first and the
chunks rows last, removing deletes the chunks rows first. The version's record says before the
first of these writes that a sync is under way, and after the last what it resulted in; so a killed
sync is known, and its sums are counted exactly once.

Items read and write (`apply_items.py`), by workers or in this process; this process judges, and
writes the record.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.pushes import remembered
from mrag_pipeline.domain.run_limits import check_dead_letters
from mrag_pipeline.domain.version import PUSH_KEY, PUSHES, VersionRecord
from mrag_pipeline.errors import FingerprintMismatch, StagingError, TooFewChunks
from mrag_pipeline.ports import DeltaStaging, OpenPool, Progress, VersionRows
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.sync.collisions import set_colliding_aside, take_back
from mrag_pipeline.stages.sync.staged_change import StagedChange

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
    open_pool: OpenPool = in_this_process,
) -> tuple[VersionRecord, bool]:
    """Finishes the version's interrupted sync, if there is one.

    Args:
        staging: of the record's next sync.
        open_pool: where its items are done.
    Returns: the version's record, and whether a sync was finished.
    Raises: as `unfinished` and `apply`.
    """
    manifest = unfinished(record, staging)
    if manifest is None:
        return record, False
    progress.note(f"finishing sync {record.syncs + 1}, which was interrupted")
    done = apply(record, manifest, staging, index, None, spec, progress, open_pool)
    return done.record, True


def apply(
    record: VersionRecord,
    manifest: Manifest,
    staging: DeltaStaging,
    index: VersionRows,
    num_dead_letters: int | None,
    spec: IngestSpec,
    progress: Progress,
    open_pool: OpenPool = in_this_process,
) -> Applied:
    """The version holds what the manifest says; running it again after a kill gives the same.

    A document of which a chunk's id is another chunk's is left out (decision 67).

    Args:
        num_dead_letters: of the corpus as compared, those of the embedded documents not
            counted; None leaves the record's.
        spec: the share of dead letters that is allowed.
        open_pool: where rows are read and written; the result is the same.
    Raises: StagingError, VerifyFailed, TooFewChunks, TooManyDeadLetters before anything is
        changed; StorageFull, IndexBusy, IndexUnavailable.
    """
    if record.pending not in ("", manifest.fingerprint):
        raise FingerprintMismatch(
            f"another sync of {record.version} is unfinished", "this one", "run `mrag sync`"
        )
    is_resumed = bool(record.pending)
    removed_sums = staging.removed_sums()
    if removed_sums is None:
        if is_resumed:
            raise StagingError(
                f"the sums of what sync {record.syncs + 1} removes are not in "
                + staging.describe(),
                "the sums as they were before the index was changed",
                "restore that folder, or run `mrag ingest`: it builds a new version",
            )
        take_back(staging)
    with closing(StagedChange(record, manifest, staging, index, open_pool, progress)) as change:
        change.read(is_first=removed_sums is None)
        if removed_sums is None:
            removed_sums = _settle(
                change, record, manifest, staging, num_dead_letters, spec, progress
            )
        sums = record.sums + change.added_sums - removed_sums
        if sums.num_chunks < 1:
            raise TooFewChunks(
                f"no chunk would be left in {record.version}", "at least 1", "check corpus.uri"
            )
        if not is_resumed:
            record = replace(record, pending=manifest.fingerprint)
            index.write_record(record)
        change.write(is_resumed)
        num_documents = record.num_documents + change.num_documents - change.num_removed_documents
        record = replace(
            record,
            sums=sums,
            num_documents=num_documents,
            num_chunks=sums.num_chunks,
            num_dead_letters=record.num_dead_letters
            if num_dead_letters is None
            else num_dead_letters + change.num_dead_letters,
            syncs=record.syncs + 1,
            synced_at=datetime.now(UTC).isoformat(timespec="seconds"),
            pending="",
            pushes=int(manifest.corpus.get(PUSHES, 0)),
            push_keys=remembered(record.push_keys, str(manifest.corpus.get(PUSH_KEY, ""))),
        ).with_reading(manifest.reading())
        num_added, num_removed = len(change.added), len(change.removed)
    # The record last: it counts the sums, and that must happen once.
    index.write_record(record)
    staging.finish()
    progress.finish()
    log.info(
        "version_synced version=%s sync=%d chunks_added=%d chunks_removed=%d",
        record.version,
        record.syncs,
        num_added,
        num_removed,
    )
    return Applied(record, num_added, num_removed)


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
    change: StagedChange,
    record: VersionRecord,
    manifest: Manifest,
    staging: DeltaStaging,
    num_dead_letters: int | None,
    spec: IngestSpec,
    progress: Progress,
) -> ImportanceSums:
    """Stores what can only be read before the index changes; returns the sums of what goes."""
    letters = set_colliding_aside(manifest, staging, change.added.twice, change.taken)
    if letters:
        progress.note(
            f"{len(letters)} documents left out: a chunk of theirs has another chunk's id"
        )
        check_dead_letters(
            spec,
            (num_dead_letters or 0) + change.num_dead_letters,
            record.num_documents + change.num_documents - change.num_removed_documents,
            "nothing was changed",
        )
        change.read_again()
    removed_sums = change.removed_sums()
    staging.write_removed_sums(removed_sums)
    return removed_sums
