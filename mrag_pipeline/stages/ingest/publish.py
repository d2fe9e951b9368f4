"""Makes a verified version live: writes its record, then flips the one alias."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Protocol

from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VERIFIED, VersionRecord
from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.ports import Rows, Versions
from mrag_pipeline.stages.ingest.reconcile import StagedCounts
from mrag_pipeline.stages.ingest.verify import CollectionCheck, VerifiedRecall
from mrag_pipeline.stages.versions.lookup import named_record

log = logging.getLogger(__name__)


class CountedVersions(Versions, Rows, Protocol):
    """Versions, and how many rows each collection has."""


def publish(
    manifest: Manifest,
    staged: StagedCounts,
    index: Versions,
    checks: Sequence[CollectionCheck] = (),
) -> VersionRecord:
    """Makes the version live: readers that resolve the alias from now on see it, whole.

    The record is written first, so a version that can be seen can be read. Publishing the
    live version again changes nothing.
    Raises: TooFewChunks if the importance cannot be computed; IndexBusy, IndexUnavailable.
    """
    return _switch(_record(manifest, staged, index, checks), index)


def keep_ready(
    manifest: Manifest,
    staged: StagedCounts,
    index: Versions,
    checks: Sequence[CollectionCheck] = (),
) -> VersionRecord:
    """Writes the version's record and switches nothing: it can be inspected, or activated.

    Raises: TooFewChunks if the importance cannot be computed; IndexBusy, IndexUnavailable.
    """
    record = _record(manifest, staged, index, checks)
    index.write_record(record)
    return record


def activate(version: str, index: CountedVersions) -> VersionRecord:
    """Makes an existing version live: going back is one flip.

    Raises: PlanRefused if it is unknown, not whole or in the middle of a sync.
    """
    record = named_record(index, version)
    names = record.collections()
    rows = {name: index.count(name) for name in names}
    if not record.pending and set(rows.values()) != {record.num_chunks}:
        wrong = {name: count for name, count in rows.items() if count != record.num_chunks}
        raise PlanRefused(
            f"version {version} is not whole: {wrong}",
            f"{record.num_chunks} rows in each collection",
            "run `mrag repair --version " + version + "`, or `mrag ingest` to build it again",
        )
    return _switch(record, index)


def _switch(record: VersionRecord, index: Versions) -> VersionRecord:
    before = index.live()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    wanted = replace(record, published_at=record.published_at or now, replaced_at="")
    known = index.record(record.version)
    if known is None or known.to_json() != wanted.to_json():
        index.write_record(wanted)
    if before == record.version:
        return wanted
    index.activate(record.version)
    log.info("version_published version=%s before=%s", record.version, before)
    # After the flip: the record of a live version never says that it was replaced. If this is not
    # reached, `retire` starts the grace period when it first sees the version.
    old = index.record(before) if before is not None else None
    if old is not None:
        index.write_record(replace(old, replaced_at=now))
    return wanted


def _record(
    manifest: Manifest,
    staged: StagedCounts,
    index: Versions,
    checks: Sequence[CollectionCheck],
) -> VersionRecord:
    staged.sums.importance()
    record = index.record(manifest.version)
    # What was synced and is not live has been loaded anew from its first shards.
    if record is not None and not (record.syncs or record.pending):
        return record
    return VersionRecord(
        index=manifest.index,
        version=manifest.version,
        fingerprint=manifest.fingerprint,
        encoder=manifest.encoder,
        chunking=manifest.chunking,
        sums=staged.sums,
        num_documents=staged.num_documents,
        num_chunks=staged.num_chunks,
        num_dead_letters=staged.num_dead_letters,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        corpus=str(manifest.corpus.get("uri", "")),
        config={**manifest.config, **_verified(checks)},
        lexical=manifest.lexical,
    )


def _verified(checks: Sequence[CollectionCheck]) -> Mapping[str, object]:
    return {VERIFIED: asdict(VerifiedRecall.of(checks))} if checks else {}
