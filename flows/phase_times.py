"""How long each phase of a run took."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from mrag_pipeline.flows import run_metrics

T = TypeVar("T")


class PhaseTimes:
    """Seconds by phase, in the order the phases ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        # Called when a phase begins after another one: what that has found is known by then.
        self.between: Callable[[], object] | None = None

    def time(self, phase: str, work: Callable[[], T]) -> T:
        """The work's result; records its duration under the phase's name, even if it fails.

        The run's metrics, if it has some, tell that the phase goes on.
        """
        if self.seconds and self.between is not None:
            self.between()
        started = time.monotonic()
        try:
            with run_metrics.phase(phase):
                return work()
        finally:
            self.seconds[phase] = round(time.monotonic() - started, 2)

    def rows(self) -> list[dict[str, str | float]]:
        """A table with one row for each phase."""
        return [{"phase": name, "seconds": seconds} for name, seconds in self.seconds.items()]
