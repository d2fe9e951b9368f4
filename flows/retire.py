"""Drops versions that are past their grace period."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.flows import artifacts
from mrag_pipeline.flows.engine import flow, repeated_task
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.progress import current
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.flows.run_metrics import counted
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.stages.versions import retire as retire_stage
from mrag_pipeline.stages.versions.retire import Retired
from mrag_pipeline.wiring import at_work

log = logging.getLogger(__name__)


@repeated_task
def drop(config: Config, version: str | None) -> Retired:
    """Drops the named version, or all versions past their grace period."""
    now = datetime.now(UTC)
    with closing(wiring.index(config)) as index:

        def forget(name: str) -> None:
            wiring.forget_staging(config, name)

        if version is not None:
            retire_stage.drop(index, config.index, version, forget)
            done = Retired({version: "drop"}, (version,))
        else:
            progress = counted(current())
            done = retire_stage.retire(index, config.index, config.retire, now, forget, progress)
        _forget_given(config, index, now)
    return done


def _forget_given(config: Config, index: VectorIndex, now: datetime) -> None:
    """Removes documents that a program gave and that no version was built from."""
    try:
        records = index.records()
    except VerifyFailed as error:  # another version's; which files it was built from is unknown
        log.warning("given_kept reason=%r", error.found)
        return
    before = now - timedelta(hours=config.retire.grace_hours)
    if given := wiring.forget_given(config, records, before):
        log.info("given_removed files=%s", ",".join(given))


@flow(name="mrag-retire")
def retire(
    config_file: str | None = None,
    settings: dict[str, Any] | None = None,
    keep: int | None = None,
    version: str | None = None,
    wait_s: float = 0.0,
) -> dict[str, Any]:
    """Drops versions that have been replaced for longer than the grace period.

    Args:
        config_file: the TOML file of `mrag init`; `mrag.toml` of the working folder if None.
        settings: override values of the file, nested like it.
        keep: how many replaced versions stay whatever their age; retire.keep if None.
        version: drop this one now, whatever its age.
        wait_s: seconds to wait for another run on the index to end; 0: fails at once.
    """
    config = Config.load(Path(config_file) if config_file else None, settings)
    if keep is not None:
        config = config.model_copy(update={"retire": replace(config.retire, keep=keep)})
    clock = PhaseTimes()
    with logged(config, "retire", clock.seconds, at_work.run_lock(config, wait_s)) as run:
        clock.between = run.keep
        run.version = version or ""
        done = clock.time("retire", lambda: drop(config, version))
    artifacts.summary(config.index, done.states)
    return {"index": config.index, "fates": done.states, "dropped": list(done.dropped)}
