"""A run's progress as bars: in a terminal, or in a notebook's cell."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.ports import Progress

NOTEBOOK_COLUMNS = 110
REDRAWN_S = 0.25
_CELL = '<pre style="white-space:pre;overflow-x:auto;line-height:normal">{code}</pre>'


class LiveProgress:
    """A bar for each phase, with counts and rates."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description:<9}", style="bold", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rates]}", style="dim", markup=False),
            console=console,
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
        self._bars.console.print(text, style="dim", markup=False)

    def finish(self) -> None:
        """Stops the bar and draws it a last time."""
        if self._task is not None:
            self._bars.stop_task(self._task)
            self._bars.refresh()


class NotebookProgress(LiveProgress):
    """The same bars as one output of the cell, which is redrawn; needs no widgets."""

    def __init__(self) -> None:
        super().__init__(_paper())
        notebook: Any = importlib.import_module("IPython.display")
        self._html = notebook.HTML
        self._handle = notebook.display(notebook.HTML(""), display_id=True)
        self._drawn_at = 0.0

    def __enter__(self) -> NotebookProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._draw()

    def advance(self, done: int, facts: Mapping[str, int] | None = None) -> None:
        """Moves the bar, and draws it now and then."""
        super().advance(done, facts)
        if time.monotonic() - self._drawn_at >= REDRAWN_S:
            self._draw()

    def note(self, text: str) -> None:
        """Prints one line below the cell."""
        print(text)

    def finish(self) -> None:
        """Stops the bar and draws it a last time."""
        super().finish()
        self._draw()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        paper = _paper()
        paper.print(self._bars.get_renderable())
        self._handle.update(self._html(paper.export_html(inline_styles=True, code_format=_CELL)))


def _paper() -> Console:
    """A console that only records what is printed."""
    return Console(
        file=StringIO(),
        record=True,
        width=NOTEBOOK_COLUMNS,
        force_terminal=True,
        force_jupyter=False,
    )


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Bars in a notebook or a terminal; elsewhere lines in the log."""
    console = Console(stderr=True)
    if console.is_jupyter:
        with NotebookProgress() as bars:
            yield bars
    elif console.is_terminal:
        with LiveProgress(console) as bars:
            yield bars
    else:
        yield LogProgress()
