"""Drops versions that are no longer needed; never the live one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from mrag_pipeline.domain.retirement import VersionState, version_states
from mrag_pipeline.domain.version import version_in
from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.ports import Progress, VersionBuilds
from mrag_pipeline.settings.retire import RetireSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retired:
    """Every version's state, and which were dropped."""

    states: dict[str, VersionState]
    dropped: tuple[str, ...]


def retire(
    index: VersionBuilds,
    name: str,
    spec: RetireSpec,
    now: datetime,
    forget: Callable[[str], None],
    progress: Progress,
) -> Retired:
    """Drops versions past their grace period, except the newest `keep`.

    Args:
        name: of the index.
        forget: removes a version's staging.
    """
    records = index.records()
    states = version_states(records, index.live(), now, spec)
    for record in records:
        if states[record.version] == "mark":
            index.write_record(replace(record, replaced_at=now.isoformat(timespec="seconds")))
    dropped = tuple(version for version, state in states.items() if state == "drop")
    progress.phase("retire", len(dropped), "versions")
    for version in dropped:
        drop(index, name, version, forget)
        progress.advance(1)
    progress.finish()
    return Retired(states, dropped)


def drop(index: VersionBuilds, name: str, version: str, forget: Callable[[str], None]) -> None:
    """Removes one version: collections, staging, record. A killed drop is finished by the next.

    Raises: PlanRefused if it is live or unknown.
    """
    if index.live() == version:
        raise PlanRefused(
            f"version {version} is live",
            "a version that is not live",
            "`mrag activate` another one first",
        )
    collections = [
        collection for collection in index.collections() if version_in(name, collection) == version
    ]
    if not collections and index.record(version) is None:
        raise PlanRefused(f"no version {version}", "one that `mrag versions` lists")
    # The chunks first: from then on the version cannot be activated. The record last: while it
    # exists, the next drop finds the version and removes what is left of it.
    for collection in sorted(collections, key=lambda own: not own.endswith("_chunks")):
        index.drop(collection)
    forget(version)
    index.drop_record(version)
    log.info("version_retired version=%s", version)
