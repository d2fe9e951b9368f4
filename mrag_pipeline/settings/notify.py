"""`[notify]`: where a failed run is reported, and how far a run has come."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import PositiveAmount


@dataclass(frozen=True, slots=True)
class NotifySpec:
    """Where runs are reported. The URL is only read from the environment."""

    webhook_env: str = "MRAG_WEBHOOK"  # environment variable with a URL; if unset, only the log
    timeout_s: PositiveAmount = 10.0
    metrics_folder: str = ""  # of Prometheus's textfile collector; empty: no metrics of runs
