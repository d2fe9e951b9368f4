"""Finds a version's record: the live one, or one by name."""

from __future__ import annotations

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import NoLiveVersion, PlanRefused
from mrag_pipeline.ports import Versions


def live_record(index: Versions) -> VersionRecord:
    """The record of the live version.

    Raises: NoLiveVersion.
    """
    version = index.live()
    record = index.record(version) if version is not None else None
    if record is None:
        raise NoLiveVersion(
            f"no live version in {index.describe()}",
            "a version that `mrag ingest` has published",
            "run `mrag ingest`, or name another index with --index",
        )
    return record


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
