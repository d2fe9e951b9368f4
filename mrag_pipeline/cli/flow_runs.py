"""Runs a flow from the command line: its progress shown, its errors told once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rich.table import Table

from mrag_pipeline.cli import orphans
from mrag_pipeline.cli.terminal import LiveProgress, err, out
from mrag_pipeline.ports import Progress

T = TypeVar("T")


def run(flow: Callable[[], T], json: bool) -> T:
    """The flow's result; a bar a phase in a terminal, plain lines when piped."""
    from mrag_pipeline.flows.progress import LogProgress, show_with

    if err.is_terminal and not json:
        with LiveProgress() as progress:
            show_with(progress)
            return flow()
    show_with(LogProgress(lambda line: err.print(line, highlight=False, soft_wrap=True)))
    return flow()


def run_plain(work: Callable[[Progress], T], json: bool) -> T:
    """The result of what needs no flow, its progress shown as a flow's."""
    from mrag_pipeline.flows.progress import LogProgress

    if err.is_terminal and not json:
        with LiveProgress() as progress:
            return work(progress)
    return work(LogProgress(lambda line: err.print(line, highlight=False, soft_wrap=True)))


def announce(what: str) -> None:
    """Says what is being started, where nothing runs yet; none of it outlives this process."""
    orphans.guard()
    if not os.environ.get("PREFECT_API_URL"):
        err.print(f"[dim]starting a local {what} ...", highlight=False)


def facts(values: Mapping[str, Any]) -> None:
    """A name and a value a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(f"[bold]{name}", str(value))
    out.print(table, highlight=False)
