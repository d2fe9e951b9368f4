"""`[notify]`: who is told of a run that failed."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import PositiveAmount


@dataclass(frozen=True, slots=True)
class NotifySpec:
    """The `[notify]` part of the config file. The address is only ever in the environment."""

    webhook_env: str = "MRAG_WEBHOOK"  # the variable that holds a URL; unset: only the log is told
    timeout_s: PositiveAmount = 10.0
