"""Who is told how a flow goes: the terminal, the log, the Prefect UI, or several at once."""

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
    """Plain lines, at most one every few seconds: for logs and pipes."""

    def __init__(self, tell: Callable[[str], object] = log.info, every_s: float = EVERY_S) -> None:
        self._tell = tell
        self._every_s = every_s
        self._name = ""
        self._unit = ""
        self._total = 0
        self._done = 0
        self._facts: Counter[str] = Counter()
        self._started = self._told = time.monotonic()

    def phase(self, name: str, total: int, unit: str) -> None:
        """A phase starts."""
        self._name, self._total, self._unit, self._done = name, total, unit, 0
        self._facts.clear()
        self._started = self._told = time.monotonic()

    def advance(self, done: int, facts: Mapping[str, int] | None = None) -> None:
        """More work is done."""
        self._done += done
        self._facts.update(facts or {})
        if time.monotonic() - self._told >= self._every_s:
            self._told = time.monotonic()
            self._tell(self._line())

    def note(self, text: str) -> None:
        """One line worth reading."""
        self._tell(f"{self._name}: {text}" if self._name else text)

    def finish(self) -> None:
        """The phase is over."""
        self._tell(self._line())

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
    """From now on, flows started in this context report here."""
    _current.set(progress)


def current() -> Progress:
    """Whom to tell: what was set, else the log."""
    return _current.get() or LogProgress()
