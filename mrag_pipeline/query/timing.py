"""How long each phase of one query takes, and when it is too late."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds since the last stop, by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stop(self, phase: str) -> None:
        """What passed since the last stop belongs to this phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


class Deadline:
    """So many seconds from now; None: as long as it takes."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds that are left, at least 0; None if there is no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())
