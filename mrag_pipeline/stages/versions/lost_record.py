"""Makes the record of a version anew from its staging, and finds which version was live.

What only the record knew is lost: when the version was built, dead letters of its syncs, pushes and
their keys, what was measured of it (a sync measures again).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import IndexDamaged, NoLiveVersion, PlanRefused, VerifyFailed
from mrag_pipeline.ports import DeltaStaging, Staging, Versions
from mrag_pipeline.stages.versions.lookup import lost_live_version

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """The version that a repair is of."""

    record: VersionRecord
    is_record_new: bool  # made from staging: its counts and sums are still to be counted
    was_live: bool  # it was the live one, and the index no longer says so


def found_version(
    index: Versions,
    version: str | None,
    base: Callable[[str], Staging],
    delta: Callable[[str, int], DeltaStaging],
) -> FoundVersion:
    """The version of that name, or the live one, with a record that can be used.

    Writes a record that is lost or damaged again. What is live is taken from the records if the
    alias is lost; the caller switches it on again when the version is whole.
    Raises: NoLiveVersion; PlanRefused for an unknown version; VerifyFailed if the record is lost
        and its staging is not here.
    """
    try:
        live = index.live()
    except IndexDamaged:
        index.discard_damaged_alias()
        live = None
    lost = None if live is not None else _lost_live_version(index)
    name = version or live or lost
    if name is None:
        raise NoLiveVersion(
            f"no live version in {index.describe()}",
            "a version that `mrag ingest` has published",
            "run `mrag ingest`; `mrag versions` lists those that are there",
        )
    is_damaged = False
    try:
        record = index.record(name)
    except VerifyFailed:
        record, is_damaged = None, True
    if record is not None:
        return FoundVersion(record, False, name == lost)
    staged = _record_from_staging(name, base(name), delta, name in (live, lost))
    if staged is None:
        is_live = name in (live, lost)
        if not is_live and not is_damaged:
            raise PlanRefused(
                f"no version {version}", "one that `mrag versions` lists", "correct --version"
            )
        raise VerifyFailed(
            f"the record of {name} is lost or damaged, and its staging is not here",
            "the record, or the staging folder that the version was built from",
            "restore that folder; or, into another index (--index), `mrag import` an export or "
            "`mrag ingest` the corpus anew"
            if is_live
            else f"restore that folder, or run `mrag retire {name}`: it is not live",
        )
    log.warning("record_made_from_staging version=%s syncs=%d", name, staged.syncs)
    return FoundVersion(staged, True, name == lost)


def _lost_live_version(index: Versions) -> str | None:
    try:
        return lost_live_version(index)
    except VerifyFailed:
        return None


def _record_from_staging(
    version: str, base: Staging, delta: Callable[[str, int], DeltaStaging], is_live: bool
) -> VersionRecord | None:
    manifest = base.manifest()
    if manifest is None:
        return None
    receipts = base.receipts([shard.index for shard in manifest.shards], manifest.fingerprint)
    left_out = sum(map(len, (base.duplicates() or {}).values()))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    syncs = 0
    while delta(version, syncs + 1).manifest() is not None:
        syncs += 1
        if delta(version, syncs).is_open():
            raise VerifyFailed(
                f"the record of {version} is lost or damaged, and its sync {syncs} was cut short",
                "a record that says what the index held before that sync",
                "run `mrag ingest` into another index (--index): it builds the corpus anew",
            )
    card = manifest.encoder
    return VersionRecord(
        index=manifest.index,
        version=version,
        fingerprint=manifest.fingerprint,
        encoder=card,
        chunking=manifest.chunking,
        sums=ImportanceSums.zero(len(card.heads), card.head_dim),
        num_documents=0,
        num_chunks=0,
        num_dead_letters=left_out + sum(r.num_dead_letters for r in receipts if r is not None),
        created_at=now,
        corpus=str(manifest.corpus.get("uri", "")),
        config=manifest.config,
        syncs=syncs,
        synced_at=now if syncs else "",
        published_at=now if is_live else "",
        lexical=manifest.lexical,
    )
