"""Times a load by kind of call, with the CPU time of the client and the server, for `load.py`."""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import Figure, figure


@dataclass
class Spent:
    """Seconds spent by kind of call, summed over all threads."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    lock: Any = field(default_factory=threading.Lock)

    def timed(self, label: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps the call so that its time is added."""

        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.monotonic()
            try:
                return call(*args, **kwargs)
            finally:
                with self.lock:
                    self.seconds[label] += time.monotonic() - started

        return run


@dataclass(frozen=True)
class Served:
    """The server, and its process if this benchmark started it."""

    uri: str
    process: psutil.Process | None


@dataclass(frozen=True)
class Run:
    """The figures of one run of one way."""

    seconds: float
    client_cpu: float
    server_cpu: float
    spent: dict[str, float]

    def scaled(self, times: float) -> Run:
        """That of a run of so many times the rows."""
        spent = {name: seconds * times for name, seconds in self.spent.items()}
        return Run(self.seconds * times, self.client_cpu * times, self.server_cpu * times, spent)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {s:.1f}" for name, s in self.spent.items())
        return (
            f"{self.seconds:7.1f} s; CPU: client {self.client_cpu:.1f} s, server "
            f"{self.server_cpu:.1f} s ({(self.client_cpu + self.server_cpu) / self.seconds:.2f} "
            f"cores); thread-seconds: {parts}"
        )


def measured(server: Served, run: Callable[[], Any], spent: Spent) -> Run:
    me = psutil.Process()
    mine, theirs = cpu_seconds(me), cpu_seconds(server.process)
    started = time.monotonic()
    run()
    seconds = time.monotonic() - started
    return Run(
        seconds, cpu_seconds(me) - mine, cpu_seconds(server.process) - theirs, dict(spent.seconds)
    )


def own_part(what: str, runs: Sequence[Run], num_rows: int) -> dict[str, Figure]:
    """What the client adds to loads of so many rows: nothing if there were none."""
    if not runs:
        return {}
    of_wall = [100 * run.client_cpu / run.seconds for run in runs]
    figures = {
        what: figure([run.seconds for run in runs], "s"),
        f"{what}: our CPU a row": figure([1e6 * run.client_cpu / num_rows for run in runs], "us"),
        f"{what}: our CPU, of the time that it takes": figure(of_wall, "%"),
    }
    if all(run.server_cpu for run in runs):  # else the server is not ours, and not known
        of_cpu = [100 * run.client_cpu / (run.client_cpu + run.server_cpu) for run in runs]
        figures[f"{what}: our CPU, of all CPU time"] = figure(of_cpu, "%")
    return figures


def cpu_seconds(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)
