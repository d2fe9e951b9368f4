"""A run's metrics, as a file for Prometheus: how far each phase is, what it counts, when it moved.

A run is no service to be scraped: it may last a minute, and runs anywhere. So it writes a file for
node_exporter's textfile collector, whole or not at all: while work is done at most every EVERY_S,
and at least every ALIVE_S, so that a process that is gone can be told from one that waits. The last
state stays in the file, with `mrag_run_active` 0.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.version import NO_VERSION
from mrag_pipeline.errors import MragError
from mrag_pipeline.flows.prometheus_text import text_of
from mrag_pipeline.flows.run_metric_names import BY_NODE, METRICS
from mrag_pipeline.ports import Progress
from mrag_pipeline.runtime import usage

log = logging.getLogger(__name__)

EVERY_S = 5.0
ALIVE_S = 30.0


@dataclass(slots=True)
class Phase:
    """How far a phase is."""

    unit: str
    total: int
    began: float  # by the monotonic clock
    done: int = 0
    ended: float | None = None
    facts: Counter[str] = field(default_factory=Counter)

    def seconds(self, now: float) -> float:
        """So far, or in all."""
        return (self.ended or now) - self.began

    def eta_s(self, now: float) -> float | None:
        """What is left at the rate so far; None before there is one."""
        if self.ended is not None or self.done >= self.total:
            return 0.0
        return self.seconds(now) * (self.total - self.done) / self.done if self.done else None


class RunMetrics:
    """The metrics of one run."""

    def __init__(
        self, path: Path, index: str, kind: str, free_bytes: Callable[[], int | None]
    ) -> None:
        """Writes nothing yet.

        Args:
            free_bytes: of staging; None where there is no such thing.
        """
        self._path = path
        self._labels = {"index": index, "kind": kind}
        self._free_bytes = free_bytes
        self._phases: dict[str, Phase] = {}
        self._whole: dict[str, Phase] = {}  # those that tell no progress, and what holds others
        self._is_active, self._has_failed = True, False
        self._started = self._moved = time.time()
        self._before = self._counted = usage.total()
        self._phase = ""  # the last that began: what is used is of it
        self._used: dict[str, usage.Usage] = {}  # by phase
        self._written_at = 0.0
        self._has_warned = False
        self._lock, self._file_lock = Lock(), Lock()
        self._is_over = Event()

    def start(self) -> None:
        """The run goes on from now to `end`."""
        self._write()
        Thread(target=self._stay_alive, name="run-metrics", daemon=True).start()

    def begin(self, name: str) -> None:
        """A phase starts that may tell no progress: until it does, it is one piece of work."""
        with self._lock:
            self._count()
            self._phase = name
            self._whole[name] = Phase("phases", 1, time.monotonic())
            self._moved = time.time()

    def complete(self, name: str) -> None:
        """That phase is over."""
        with self._lock:
            self._whole[name].done, self._whole[name].ended = 1, time.monotonic()
            self._moved = time.time()
        self._write()

    def phase(self, name: str, total: int, unit: str) -> None:
        """A phase starts that tells its progress, perhaps again."""
        with self._lock:
            self._count()
            self._phase = name
            self._phases[name] = Phase(unit, total, time.monotonic())
            self._moved = time.time()
        self._write()

    def advance(self, name: str, done: int, facts: Mapping[str, int] | None) -> None:
        """So much more of a phase is done."""
        with self._lock:
            self._phases[name].done += done
            self._phases[name].facts.update(facts or {})
            self._moved = time.time()
        if time.monotonic() - self._written_at >= EVERY_S:
            self._write()

    def finish(self, name: str) -> None:
        """A phase is over."""
        with self._lock:
            self._phases[name].ended = time.monotonic()
            self._moved = time.time()
        self._write()

    def end(self, has_failed: bool) -> None:
        """The run is over."""
        self._is_over.set()
        self._is_active, self._has_failed = False, has_failed
        self._write()

    def text(self) -> str:
        """The file, in Prometheus's text format."""
        free = self._free_bytes()  # a slow file system holds up no phase
        now = time.monotonic()
        with self._lock:
            self._count()
            samples = list(self._samples(now, self._counted.since(self._before), free))
        own = self._labels
        return text_of(METRICS, [(name, own | labels, value) for name, labels, value in samples])

    def _count(self) -> None:
        """Adds what was used since the last time to the phase; under the lock."""
        now = usage.total()
        before = self._used.get(self._phase, usage.Usage())
        self._used[self._phase] = before.plus(now.since(self._counted))
        self._counted = now

    def _samples(
        self, now: float, held: usage.Usage, free: int | None
    ) -> Iterator[tuple[str, dict[str, str], float]]:
        yield "mrag_run_active", {}, float(self._is_active)
        yield "mrag_run_started_seconds", {}, self._started
        yield "mrag_run_alive_seconds", {}, time.time()
        yield "mrag_run_moved_seconds", {}, self._moved
        yield "mrag_run_failed", {}, float(self._has_failed)
        yield "mrag_run_core_seconds_total", {}, held.core_s
        yield "mrag_run_gpu_seconds_total", {}, held.gpu_s
        for name, used in self._used.items():
            for node, of_node in used.nodes.items():
                if name and of_node != usage.NodeUsage():  # else it has no part in the phase
                    both = {"phase": name, "node": node}
                    for metric, counted_as in BY_NODE.items():
                        yield metric, both, float(getattr(of_node, counted_as))
        if free is not None:
            yield "mrag_run_staging_free_bytes", {}, float(free)
        for name, phase in (self._whole | self._phases).items():
            of_phase = {"phase": name}
            with_unit = of_phase | {"unit": phase.unit}
            yield "mrag_run_items", with_unit, float(phase.total)
            yield "mrag_run_items_done", with_unit, float(phase.done)
            yield "mrag_run_phase_seconds", of_phase, phase.seconds(now)
            eta_s = phase.eta_s(now)
            if eta_s is not None:
                yield "mrag_run_eta_seconds", of_phase, eta_s
            for fact, count in phase.facts.items():
                yield "mrag_run_facts_total", of_phase | {"fact": fact}, float(count)

    def _stay_alive(self) -> None:
        while not self._is_over.wait(ALIVE_S):
            self._write()

    def _write(self) -> None:
        """Writes the file; an error is logged once, and the next time it is tried again."""
        self._written_at = time.monotonic()
        # The collector reads files that end in .prom, and no other.
        temporary = self._path.with_suffix(f".{os.getpid()}")
        with self._file_lock:
            try:
                temporary.write_text(self.text(), "utf-8")
                temporary.replace(self._path)
            except (MragError, OSError, ValueError) as error:
                if not self._has_warned:
                    log.warning("run_metrics_not_written file=%s error=%r", self._path, str(error))
                self._has_warned = True


class MetricsProgress:
    """Passes everything on to another display, and counts it."""

    def __init__(self, inner: Progress, metrics: RunMetrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self._name = ""

    def phase(self, name: str, total: int, unit: str) -> None:
        """Starts a phase."""
        self._inner.phase(name, total, unit)
        self._name = name
        self._metrics.phase(name, total, unit)

    def advance(self, done: int, facts: Mapping[str, int] | None = None) -> None:
        """Counts the work and the facts."""
        self._inner.advance(done, facts)
        self._metrics.advance(self._name, done, facts)

    def note(self, text: str) -> None:
        """Passes it on."""
        self._inner.note(text)

    def finish(self) -> None:
        """Ends the phase."""
        self._inner.finish()
        self._metrics.finish(self._name)


_current: ContextVar[RunMetrics | None] = ContextVar("run_metrics", default=None)


def metrics_of(config: Config, kind: str) -> RunMetrics | None:
    """The metrics of a run that starts now; None if they are not asked for."""
    if not config.notify.metrics_folder:
        return None
    path = Path(config.notify.metrics_folder) / f"mrag_{config.index}_{kind}.prom"
    staging = wiring.staging(config, NO_VERSION)
    return RunMetrics(path, config.index, kind, staging.free_bytes)


@contextmanager
def showing(metrics: RunMetrics | None) -> Iterator[None]:
    """Phases that start within the block are counted in these metrics."""
    if metrics is None:
        yield
        return
    token = _current.set(metrics)
    has_failed = False
    metrics.start()
    try:
        yield
    except Exception:
        has_failed = True
        raise
    finally:
        _current.reset(token)
        metrics.end(has_failed)


def counted(progress: Progress) -> Progress:
    """The display, which also counts in the metrics of the run that goes on, if it has any."""
    metrics = _current.get()
    return progress if metrics is None else MetricsProgress(progress, metrics)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """The block is a phase of the run that goes on, if that has metrics."""
    metrics = _current.get()
    if metrics is not None:
        metrics.begin(name)
    yield
    if metrics is not None:
        metrics.complete(name)
