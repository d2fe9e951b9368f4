"""Checks a version's rows, record and staging; a run that finds damage has failed."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import ConfigError, DamageFound
from mrag_pipeline.flows import artifacts
from mrag_pipeline.flows.artifacts import flow_progress
from mrag_pipeline.flows.chosen_version import find
from mrag_pipeline.flows.engine import flow, repeated_task
from mrag_pipeline.flows.phase_times import PhaseTimes
from mrag_pipeline.flows.run_log import logged
from mrag_pipeline.runtime.pools import check_ray, phase_pools
from mrag_pipeline.stages.versions.audit import Audit
from mrag_pipeline.stages.versions.audit import audit as audit_stage
from mrag_pipeline.stages.versions.audit import audit_sample as sample_stage
from mrag_pipeline.wiring.phase_work import row_checker


@dataclass(frozen=True, slots=True)
class Checked:
    """What an audit found, and what it looked at."""

    report: Audit
    has_staging: bool  # whether the version's staging was here, and was read
    seed: int | None  # that drew the chunks; None: all were checked


@repeated_task
def check(config: Config, record: VersionRecord) -> Checked:
    """Checks every row and every staged file; nothing is kept, so another try begins anew."""
    with closing(wiring.index(config)) as index:
        staged = wiring.staged_version(config, record)
        pools = phase_pools(config, partial(row_checker, record), index.capabilities().is_shared)
        report = audit_stage(record, staged, index, flow_progress(config.index), pools)
        return Checked(report, staged is not None, None)


@repeated_task
def check_sample(config: Config, record: VersionRecord, size: int, seed: int) -> Checked:
    """Checks so many chunks; another try draws the same."""
    with closing(wiring.index(config)) as index:
        report = sample_stage(record, index, size, seed, flow_progress(config.index))
        return Checked(report, False, seed)


@flow(name="mrag-audit")
def audit(
    config_file: str | None = None,
    settings: dict[str, Any] | None = None,
    version: str | None = None,
    sample: int | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Checks that every row of a version is what was written, or a sample of its chunks.

    Args:
        config_file: the TOML file of `mrag init`; `mrag.toml` of the working folder if None.
        settings: override values of the file, nested like it.
        version: its name; the live version if None.
        sample: check so many chunks drawn at random; all, and staging, if None.
        seed: of the sample: the same one draws the same chunks; any if None.
    Returns: an Audit as plain values, with the version's recall when it was built, `has_staging`
        and `seed`.
    Raises: DamageFound with the same values if anything is wrong; ConfigError.
    """
    config = Config.load(Path(config_file) if config_file else None, settings)
    if sample is None:
        check_ray(config)
    elif sample < 1:
        raise ConfigError(f"a sample of {sample} chunks", "at least 1", "leave it out for all")
    clock = PhaseTimes()
    with logged(config, "audit", clock.seconds) as run:
        clock.between = run.keep
        record = clock.time("find", lambda: find(config, version))
        run.is_of(record)
        if sample is None:
            checked = clock.time("audit", lambda: check(config, record))
        else:
            drawn_by = random.randrange(2**31) if seed is None else seed
            checked = clock.time("audit", lambda: check_sample(config, record, sample, drawn_by))
        findings = checked.report.findings
        result: dict[str, Any] = {
            "index": config.index,
            **asdict(checked.report),
            "recall": record.verified_recall(),
            "recall_above": record.recall_above(),
            "recall_confidence": record.recall_confidence(),
            "recall_searched": record.recall_searched(),
            "has_staging": checked.has_staging,
            "seed": checked.seed,
        }
        artifacts.phases_table(config.index, clock.rows())
        artifacts.summary(config.index, result | {"findings": len(findings)})
        if findings:
            artifacts.findings(config.index, result["findings"])
            run.problem = "; ".join(map(str, findings))
            raise DamageFound(run.problem, "what was written", "run `mrag repair`", result)
    return result
