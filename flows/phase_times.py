"""How long each phase of a run took."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class PhaseTimes:
    """Seconds by phase, in the order the phases were run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, phase: str, work: Callable[[], T]) -> T:
        """The work's result; its time is kept under the phase's name, also if it fails."""
        started = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[phase] = round(time.monotonic() - started, 2)

    def rows(self) -> list[dict[str, str | float]]:
        """A table, a row a phase."""
        return [{"phase": name, "seconds": seconds} for name, seconds in self.seconds.items()]
