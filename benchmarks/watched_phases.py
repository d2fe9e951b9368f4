"""What each phase of a run takes: seconds, peak memory by process, and requests to staging."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import psutil
from counted_requests import VERBS, Requests

LOOK_S = 0.1

T = TypeVar("T")


@dataclass
class Phases:
    """Seconds and peak memory of each phase, sampled ten times a second; workers once a second."""

    server: psutil.Process | None
    asked: Requests
    seconds: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, dict[str, float]] = field(default_factory=dict)
    requests: dict[str, dict[str, int]] = field(default_factory=dict)
    _now: str = ""
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Samples memory while the block runs."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def run(self, phase: str, work: Callable[[], T]) -> T:
        """Runs the work as that phase; returns its result."""
        self._now = phase
        self.memory_mb.setdefault(phase, {})
        self._look(phase)
        before = self.asked.total()
        started = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[phase] = time.monotonic() - started
            self._look(phase, workers=True)
            self._now = ""
            after = self.asked.total()
            self.requests[phase] = {
                verb: after[verb] - before[verb] for verb in set(VERBS.values())
            }

    def _watch(self) -> None:
        looks = 0
        while not self._stopped.wait(LOOK_S):
            if phase := self._now:
                looks += 1
                # Finding the children reads every process of the machine, so it is done less often.
                self._look(phase, looks % 10 == 0)

    def _look(self, phase: str, workers: bool = False) -> None:
        own = psutil.Process()
        seen = {"driver": own.memory_info().rss, "worker": 0, "server": 0}
        for child in own.children(recursive=True) if workers else ():
            with contextlib.suppress(psutil.Error):
                if child.name().startswith("ray::") or "WorkActor" in " ".join(child.cmdline()):
                    seen["worker"] = max(seen["worker"], child.memory_info().rss)
        if self.server is not None:
            seen["server"] = self.server.memory_info().rss
        highest = self.memory_mb[phase]
        for who, num_bytes in seen.items():
            highest[who] = max(highest.get(who, 0.0), num_bytes / 1e6)
