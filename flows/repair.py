"""Puts a version right, from staging where possible; a run that leaves damage has failed."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.errors import DamageFound
from mrag_pipeline.flows import artifacts
from mrag_pipeline.flows.artifacts import flow_progress
from mrag_pipeline.flows.engine import flow, repeated_task
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.runtime.pools import check_ray, phase_pools
from mrag_pipeline.stages.versions.lookup import named_record
from mrag_pipeline.stages.versions.lost_record import FoundVersion
from mrag_pipeline.stages.versions.repair import Repaired
from mrag_pipeline.stages.versions.repair import repair as repair_stage
from mrag_pipeline.wiring import at_work
from mrag_pipeline.wiring.phase_work import row_checker


@repeated_task
def find(config: Config, version: str | None) -> FoundVersion:
    """The version; its record is made from staging and written if it is lost."""
    with closing(wiring.index(config)) as index:
        found = wiring.found_version(config, index, version)
        if found.is_record_new:
            index.discard_damaged_records()
            index.write_record(found.record)
        return found


@repeated_task
def mend(config: Config, version: str) -> tuple[Repaired, bool]:
    """Puts the version right. Returns what was done, and whether its staging was here."""
    with closing(wiring.index(config)) as index:
        # Read again: an earlier try may have begun to change rows, and the record says so.
        record = named_record(index, version)
        staged = wiring.staged_version(config, record)
        pools = phase_pools(config, partial(row_checker, record), index.capabilities().is_shared)
        progress = flow_progress(config.index)
        return repair_stage(record, staged, index, progress, pools), staged is not None


@repeated_task
def make_live(config: Config, version: str) -> None:
    """Sets the lost alias again."""
    with closing(wiring.index(config)) as index:
        index.activate(version)


@flow(name="mrag-repair")
def repair(
    config_file: str | None = None,
    settings: dict[str, Any] | None = None,
    version: str | None = None,
    wait_s: float = 0.0,
) -> dict[str, Any]:
    """Fixes what an audit finds; nothing is embedded.

    Args:
        config_file: the TOML file of `mrag init`; `mrag.toml` of the working folder if None.
        settings: override values of the file, nested like it.
        version: its name; the live version if None.
        wait_s: seconds to wait for another run on the index to end; 0: fails at once.
    Returns: what was done, as plain values. Of a phase that was tried again, what its last try has
        restored and removed.
    Raises: DamageFound with the same values if searches still miss what is stored.
    """
    config = Config.load(Path(config_file) if config_file else None, settings)
    check_ray(config)
    clock = PhaseTimes()
    with logged(config, "repair", clock.seconds, at_work.run_lock(config, wait_s)) as run:
        clock.between = run.keep
        found = clock.time("find", lambda: find(config, version))
        name = found.record.version
        run.is_of(found.record)
        done, has_staging = clock.time("repair", lambda: mend(config, name))
        run.is_of(done.record)
        if found.was_live:
            clock.time("activate", lambda: make_live(config, name))
        result: dict[str, Any] = {
            "index": config.index,
            "version": name,
            "restored_rows": done.restored,
            "removed_rows": done.removed,
            "removed_documents": done.documents_removed,
            "recounted": done.recounted,
            "record_made_anew": found.is_record_new,
            "made_live_again": found.was_live,
            "searches_still_damaged": list(done.misled),
        }
        artifacts.phases_table(config.index, clock.rows())
        artifacts.summary(config.index, result)
        if done.misled:
            run.problem = _still_damaged(done, has_staging)
            raise DamageFound(run.problem, "searches that find what is stored", "", result)
    return result


def _still_damaged(done: Repaired, has_staging: bool) -> str:
    names = ", ".join(done.misled)
    if has_staging:
        return (
            f"{names}: built anew, and searches still find less than when the version was built; "
            "give them more effort (milvus.search_params)"
        )
    return (
        f"{names}: searches do not find all that is stored, and staging is not here to build from; "
        "restore the staging folder and run `mrag repair` again"
    )
