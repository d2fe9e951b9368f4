"""Loads an exported version into an index: load, verify, activate. Run it again to resume."""

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
from mrag_pipeline.flows.engine import flow, repeated_task
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.runtime.pools import check_ray, load_pools, phase_pools
from mrag_pipeline.stages.ingest.publish import activate as activate_stage
from mrag_pipeline.stages.ingest.verify import CollectionCheck, VerifiedRecall
from mrag_pipeline.stages.ingest.verify import verify as verify_stage
from mrag_pipeline.stages.versions.import_version import MEND, export_plan
from mrag_pipeline.stages.versions.import_version import import_version as import_stage
from mrag_pipeline.wiring import at_work
from mrag_pipeline.wiring.phase_work import import_loader, import_verifier


@repeated_task
def load(config: Config, folder: str) -> VersionRecord:
    """Loads every collection; those that an earlier try of the same export has loaded stay."""
    with closing(wiring.index(config)) as index:
        return import_stage(
            wiring.export(folder),
            config.index,
            index,
            flow_progress(config.index),
            load_pools(config, partial(import_loader, folder), index),
            config.milvus.range_mb * 1e6,
        )


@repeated_task
def verify(config: Config, folder: str, num_chunks: int) -> list[CollectionCheck]:
    """Checks that the loaded collections are what was exported."""
    export = wiring.export(folder)
    with closing(wiring.index(config)) as index:
        return verify_stage(
            export_plan(export, config.index, index),
            export.staging,
            index,
            num_chunks,
            config.ingest,
            flow_progress(config.index),
            phase_pools(config, partial(import_verifier, folder), index.capabilities().is_shared),
            MEND,
        )


@repeated_task
def make_live(config: Config, version: str) -> None:
    """Makes the imported version live."""
    with closing(wiring.index(config)) as index:
        activate_stage(version, index)


@repeated_task
def live(config: Config) -> str | None:
    """The live version's name, if there is one."""
    with closing(wiring.index(config)) as index:
        return index.live()


@flow(name="mrag-import")
def import_version(
    folder: str,
    config_file: str | None = None,
    settings: dict[str, Any] | None = None,
    activate: bool = False,
    wait_s: float = 0.0,
) -> dict[str, Any]:
    """Loads an exported version into the config's index; needs no model.

    Args:
        folder: path or URI that `mrag export` wrote to.
        config_file: the TOML file of `mrag init`; `mrag.toml` of the working folder if None.
        settings: override values of the file, nested like it: {"index": "docs"}.
        activate: make the version live.
        wait_s: seconds to wait for another run on the index to end; 0: fails at once.
    Returns: index, version, chunks, the live version and the recall, as plain values.
    """
    config = Config.load(Path(config_file) if config_file else None, settings)
    check_ray(config)
    place = from_anywhere(folder)
    clock = PhaseTimes()
    with logged(config, "import", clock.seconds, at_work.run_lock(config, wait_s)) as run:
        clock.between = run.keep
        record = clock.time("load", lambda: load(config, place))
        run.is_of(record)
        checks = clock.time("verify", lambda: verify(config, place, record.num_chunks))
        artifacts.recall_table(config.index, checks)
        if activate:
            clock.time("activate", lambda: make_live(config, record.version))
        now_live = record.version if activate else live(config)
    verified = VerifiedRecall.of(checks)
    result = {
        "index": config.index,
        "version": record.version,
        "chunks": record.num_chunks,
        "live": now_live,
        "recall": verified.recall,
        "recall_above": verified.recall_above,
        "recall_confidence": verified.confidence,
        "recall_queries": verified.queries,
        "recall_searched": verified.searched,
    }
    artifacts.phases_table(config.index, clock.rows())
    artifacts.summary(config.index, result)
    return result
