"""The one switch: a verified version's record is written, then its alias is flipped."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.stages.reconcile import Staged

log = logging.getLogger(__name__)


def publish(manifest: Manifest, staged: Staged, index: VectorIndex) -> VersionRecord:
    """The version is live: readers that resolve the alias from now on see it, whole.

    The record is written first, so a version that can be seen can be read. Publishing the
    live version again changes nothing.
    Raises: TooFewChunks if no importance can be told; IndexBusy, IndexUnavailable.
    """
    staged.sums.importance()
    record = index.record(manifest.version)
    if record is None:
        record = VersionRecord(
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
            config=manifest.config,
        )
        index.write_record(record)
    before = index.live()
    if before != manifest.version:
        index.activate(manifest.version)
        log.info("version_published version=%s before=%s", manifest.version, before)
    return record
