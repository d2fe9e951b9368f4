"""Writes a version as a folder of Parquet files. Run it again to resume."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.filesystems.location import from_anywhere
from mrag_pipeline.flows import artifacts
from mrag_pipeline.flows.artifacts import flow_progress
from mrag_pipeline.flows.chosen_version import find
from mrag_pipeline.flows.engine import flow, repeated_task
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.runtime.pools import check_ray, phase_pools
from mrag_pipeline.stages.versions.export import export_version as export_stage
from mrag_pipeline.wiring import at_work
from mrag_pipeline.wiring.phase_work import exporter


@repeated_task
def write(config: Config, record: VersionRecord, folder: str) -> int:
    """Writes the shards that are missing, then the record; returns the number of chunks."""
    with closing(wiring.index(config)) as index:
        work = partial(exporter, record, folder)
        pools = phase_pools(config, work, index.capabilities().is_shared)
        progress = flow_progress(config.index)
        return export_stage(record, index, wiring.export(folder), progress, pools)


@flow(name="mrag-export")
def export(
    folder: str,
    config_file: str | None = None,
    settings: dict[str, Any] | None = None,
    version: str | None = None,
    wait_s: float = 0.0,
) -> dict[str, Any]:
    """Writes every row of a version, and its record, for `mrag import`.

    Args:
        folder: path or URI; an empty one, or that of an export of the same version and sync.
        config_file: the TOML file of `mrag init`; `mrag.toml` of the working folder if None.
        settings: override values of the file, nested like it.
        version: its name; the live version if None.
        wait_s: seconds to wait for another run on the index to end; 0: fails at once.
    Returns: index, version, chunks and folder.
    """
    config = Config.load(Path(config_file) if config_file else None, settings)
    check_ray(config)
    place = from_anywhere(folder)
    clock = PhaseTimes()
    with logged(config, "export", clock.seconds, at_work.run_lock(config, wait_s)) as run:
        clock.between = run.keep
        record = clock.time("find", lambda: find(config, version))
        run.is_of(record)
        num_chunks = clock.time("export", lambda: write(config, record, place))
    result = {
        "index": config.index,
        "version": record.version,
        "chunks": num_chunks,
        "folder": folder,
    }
    artifacts.phases_table(config.index, clock.rows())
    artifacts.summary(config.index, result)
    return result
