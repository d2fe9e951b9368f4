"""How long each phase of one query takes, and when its time is over."""

from __future__ import annotations

import time


class Stopwatch:
    """The seconds that passed, by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last_stop = time.perf_counter()

    def stop(self, phase: str) -> None:
        """Counts the time since the last stop to this phase."""
        stopped = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + stopped - self._last_stop
        self._last_stop = stopped


class Deadline:
    """A number of seconds from its creation; None: no end."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def seconds_left(self) -> float | None:
        """The seconds until the end, at least 0; None if there is no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())
