"""The version that a run is of: found before the run begins with it."""

from __future__ import annotations

from contextlib import closing

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.flows.engine import repeated_task
from mrag_pipeline.stages.versions.lookup import chosen_record


@repeated_task
def find(config: Config, version: str | None) -> VersionRecord:
    """The record of the named version, or of the live one if no version is named."""
    with closing(wiring.index(config)) as index:
        return chosen_record(index, version)
