"""Which progress display a flow uses: the one that was set, or the log."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar

from mrag_pipeline.ports import Progress

log = logging.getLogger(__name__)

EVERY_S = 5.0


class LogProgress:
    """Plain lines, at most one every few seconds, for logs and pipes."""

    def __init__(self, write: Callable[[str], object] = log.info, every_s: float = EVERY_S) -> None:
        self._write = write
        self._every_s = every_s
        self._name = ""
        self._unit = ""
        self._total = 0
        self._done = 0
        self._facts: Counter[str] = Counter()
        self._started = self._written_at = time.monotonic()

    def phase(self, name: str, total: int, unit: str) -> None:
        """Starts a phase."""
        self._name, self._total, self._unit, self._done = name, total, unit, 0
        self._facts.clear()
        self._started = self._written_at = time.monotonic()

    def advance(self, done: int, facts: Mapping[str, int] | None = None) -> None:
        """Counts the work and the facts; writes a line every few seconds."""
        self._done += done
        self._facts.update(facts or {})
        if time.monotonic() - self._written_at >= self._every_s:
            self._written_at = time.monotonic()
            self._write(self._line())

    def note(self, text: str) -> None:
        """Writes one line."""
        self._write(f"{self._name}: {text}" if self._name else text)

    def finish(self) -> None:
        """Writes the phase's last line."""
        self._write(self._line())

    def _line(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-9)
        rates = "".join(
            f", {count:,} {name} ({count / seconds:,.0f}/s)" for name, count in self._facts.items()
        )
        return (
            f"{self._name}: {self._done:,} of {self._total:,} {self._unit}{rates}, {seconds:.1f} s"
        )


_current: ContextVar[Progress | None] = ContextVar("progress", default=None)


def show_with(progress: Progress) -> None:
    """Flows that start in this context show their progress here from now on."""
    _current.set(progress)


def current() -> Progress:
    """The display that was set, else the log."""
    return _current.get() or LogProgress()
