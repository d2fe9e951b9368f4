"""What commands print: results, JSON, and progress bars."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

out = Console()
err = Console(stderr=True)


def print_json(values: Any) -> None:
    """Writes one JSON value to standard output, and nothing else."""
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n")


def size(num_bytes: float | None) -> str:
    """`1.2 GB`; "unknown" if None."""
    if num_bytes is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if num_bytes < 1000 or unit == "TB":
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    raise AssertionError


def seconds_by_phase(seconds: Mapping[str, float]) -> str:
    """`plan 0.5, embed 12.1`."""
    return ", ".join(f"{phase} {value}" for phase, value in seconds.items())


def print_facts(facts: Mapping[str, Any]) -> None:
    """A line for each fact: its name and its value."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(f"[bold]{name}", escape(str(value)))
    out.print(table, highlight=False)


class LiveProgress:
    """A bar for each phase, with counts and rates; on standard error, so results can be piped."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("[bold]{task.description:<9}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[rates]}"),
            console=err,
        )
        self._task: TaskID | None = None
        self._started = time.monotonic()
        self._facts: Counter[str] = Counter()

    def __enter__(self) -> LiveProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def phase(self, name: str, total: int, unit: str) -> None:
        """Starts a phase: a new bar."""
        self._started = time.monotonic()
        self._facts.clear()
        self._task = self._bars.add_task(name, total=total, unit=unit, rates="")

    def advance(self, done: int, facts: Mapping[str, int] | None = None) -> None:
        """Moves the bar; adds the facts to the counts and rates beside it."""
        if self._task is None:
            return
        self._facts.update(facts or {})
        seconds = max(time.monotonic() - self._started, 1e-9)
        rates = ", ".join(
            f"{count:,} {name}" + (f" ({count / seconds:,.0f}/s)" if name != "dead letters" else "")
            for name, count in self._facts.items()
            if count
        )
        self._bars.update(self._task, advance=done, rates=rates)

    def note(self, text: str) -> None:
        """Prints one line above the bars."""
        self._bars.console.print(f"[dim]{escape(text)}", highlight=False)

    def finish(self) -> None:
        """Stops the bar and draws it a last time."""
        if self._task is not None:
            self._bars.stop_task(self._task)
            self._bars.refresh()
