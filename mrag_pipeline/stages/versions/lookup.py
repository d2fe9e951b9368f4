"""Finds a version's record: the live one, or one by name."""

from __future__ import annotations

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import NoLiveVersion, PlanRefused, VerifyFailed
from mrag_pipeline.ports import Versions

_REPAIR = "run `mrag repair`"


def live_record(index: Versions) -> VersionRecord:
    """The record of the live version.

    Raises: NoLiveVersion; VerifyFailed if its record or its alias is lost or damaged.
    """
    version = index.live()
    if version is None and (lost := lost_live_version(index)) is not None:
        raise VerifyFailed(
            f"the alias that makes {lost} live is lost", "an alias on its chunks", _REPAIR
        )
    record = index.record(version) if version is not None else None
    if record is None and version is not None:
        raise VerifyFailed(f"{version} is live, and its record is lost", "its record", _REPAIR)
    if record is None:
        raise NoLiveVersion(
            f"no live version in {index.describe()}",
            "a version that `mrag ingest` has published",
            "run `mrag ingest`, or name another index with --index",
        )
    return record


def lost_live_version(index: Versions) -> str | None:
    """The version that was live, by the records of an index whose alias is lost.

    None if no record says so, or several do.
    """
    names = [
        record.version
        for record in index.records()
        if record.published_at and not record.replaced_at
    ]
    return names[0] if len(names) == 1 else None


def named_record(index: Versions, version: str) -> VersionRecord:
    """The record of the version of that name.

    Raises: PlanRefused if there is none, naming those there are.
    """
    record = index.record(version)
    if record is None:
        known = ", ".join(other.version for other in index.records()) or "none yet"
        raise PlanRefused(f"no version {version}", f"one of: {known}", "see `mrag versions`")
    return record


def chosen_record(index: Versions, version: str | None) -> VersionRecord:
    """The record of the named version, or of the live one if no version is named.

    Raises: NoLiveVersion, PlanRefused.
    """
    return live_record(index) if version is None else named_record(index, version)
