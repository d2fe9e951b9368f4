"""A settled difference brought into the live version, by writes that can be done again.

Within a live version the chunks row is the commit record: adding writes heads first and the
chunks rows last, removing takes the chunks rows first. The version's record is told before the
first of these writes that a sync is under way, and after the last what it came to; so a killed
sync is known, and its sums are counted exactly once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import (
    FingerprintMismatch,
    StagingError,
    TooFewChunks,
    VerifyFailed,
)
from mrag_pipeline.ports import DeltaStaging, Progress, Rows, VersionRows
from mrag_pipeline.stages.ingest.load import collections_of

log = logging.getLogger(__name__)

_ROWS = 2_000  # vectors of all heads read at a time: 3 MB for 384 numbers


@dataclass(frozen=True, slots=True)
class Applied:
    """What a sync came to."""

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
            "the staging folder that it was begun with",
            "run `mrag sync` with that staging.uri; if it is lost, `mrag ingest` builds anew",
        )
    return manifest


def apply(
    record: VersionRecord,
    manifest: Manifest,
    staging: DeltaStaging,
    index: VersionRows,
    num_dead_letters: int | None,
    progress: Progress,
) -> Applied:
    """The version holds what the manifest says; done again after a kill, it comes to the same.

    Args:
        num_dead_letters: of the corpus as compared, those of the embedded documents not
            counted; None leaves the record's.
    Raises: StagingError, VerifyFailed, TooFewChunks before anything is changed; IndexBusy,
        IndexUnavailable.
    """
    if record.pending not in ("", manifest.fingerprint):
        raise FingerprintMismatch(
            f"another sync of {record.version} is unfinished", "this one", "run `mrag sync`"
        )
    *heads, chunks = collections_of(record.index, record.version, record.encoder)
    progress.phase("apply", 2 * len(heads) + 2, "collections")
    added = _Added.of(manifest, staging, record)
    marks = staging.removed()
    removed = [mark.id for mark in marks]
    removed_sums = staging.removed_sums()
    if removed_sums is None:
        if record.pending:
            raise StagingError(
                f"the sums of what sync {record.syncs + 1} takes away are not in "
                + staging.describe(),
                "them: the index has been changed since",
                "restore that folder, or run `mrag ingest`: it builds a new version",
            )
        _check_collisions(index, chunks.name, added.ids, removed)
        removed_sums = _sums_in_index(record, index, removed)
        staging.write_removed_sums(removed_sums)
    after = record.sums + added.sums - removed_sums
    if after.num_chunks < 2:
        raise TooFewChunks(
            f"{after.num_chunks} chunk(s) would be left in {record.version}",
            "at least 2: a head's importance is the spread of its vectors",
            "check corpus.uri",
        )
    if not record.pending:
        record = replace(record, pending=manifest.fingerprint)
        index.write_record(record)
    for head, collection in zip(record.encoder.heads, heads, strict=True):
        for shard in manifest.shards:
            index.upsert(collection, staging.head(shard.index, head))
        progress.advance(1)
    for shard in manifest.shards:
        index.upsert(chunks, staging.chunks(shard.index))
    progress.advance(1)
    stale = sorted(set(removed) - set(added.ids.tolist()))
    for collection in (chunks, *heads):
        if stale:
            index.delete(collection.name, stale)
        progress.advance(1)
    record = replace(
        record,
        sums=after,
        num_documents=record.num_documents + added.documents - len({m.document_id for m in marks}),
        num_chunks=after.num_chunks,
        num_dead_letters=record.num_dead_letters
        if num_dead_letters is None
        else num_dead_letters + added.dead_letters,
        syncs=record.syncs + 1,
        synced_at=datetime.now(UTC).isoformat(timespec="seconds"),
        pending="",
    )
    # The record last: it counts the sums, and that must happen once.
    index.write_record(record)
    staging.finish()
    progress.finish()
    log.info(
        "version_synced version=%s sync=%d chunks_added=%d chunks_removed=%d",
        record.version,
        record.syncs,
        len(added.ids),
        len(removed),
    )
    return Applied(record, len(added.ids), len(removed))


@dataclass(frozen=True, slots=True, eq=False)
class _Added:
    """What the sync's shards hold."""

    ids: NDArray[np.int64]
    sums: ImportanceSums
    documents: int
    dead_letters: int

    @classmethod
    def of(cls, manifest: Manifest, staging: DeltaStaging, record: VersionRecord) -> _Added:
        card = record.encoder
        sums = ImportanceSums.zero(len(card.heads), card.head_dim)
        ids = [np.zeros(0, np.int64)]
        documents = dead = 0
        for shard in manifest.shards:
            receipt = staging.receipt(shard.index, manifest.fingerprint)
            if receipt is None:
                raise StagingError(
                    f"shard {shard.index} is not staged in {staging.describe()}",
                    "a receipt for every shard of the sync",
                    "run `mrag sync` again: it embeds what is missing",
                )
            sums = sums + staging.sums(shard.index)
            ids.append(staging.chunk_ids(shard.index))
            documents += receipt.num_documents
            dead += receipt.num_dead_letters
        return cls(np.concatenate(ids), sums, documents, dead)


def _sums_in_index(record: VersionRecord, index: Rows, ids: Sequence[int]) -> ImportanceSums:
    """The sums over rows of the index, as they are now.

    Raises: VerifyFailed if a head has lost one.
    """
    card = record.encoder
    sums = ImportanceSums.zero(len(card.heads), card.head_dim)
    for at in range(0, len(ids), _ROWS):
        some = ids[at : at + _ROWS]
        vectors = np.empty((len(some), len(card.heads), card.head_dim), np.float32)
        for place, name in enumerate(record.head_collections()):
            found = index.vectors(name, some)
            if len(found) != len(set(some)):
                raise VerifyFailed(
                    f"{name} lacks {len(set(some)) - len(found)} of the rows that are to go",
                    "every chunk in every head",
                    "run `mrag audit`, then `mrag repair`",
                )
            vectors[:, place] = [found[i] for i in some]
        sums = sums + ImportanceSums.of(vectors)
    return sums


def _check_collisions(
    index: Rows, collection: str, added: NDArray[np.int64], removed: Sequence[int]
) -> None:
    kept_out = np.setdiff1d(added, np.asarray(removed, np.int64))
    repeated = len(added) - len(np.unique(added))
    met = sum(int(np.isin(block, kept_out).sum()) for block in index.ids(collection))
    if repeated or met:
        raise StagingError(
            f"{repeated + met} chunk ids of the sync belong to other passages too",
            "each passage its own id",
            "change one of the documents' ids: 63 bits of hash have met by chance",
        )
