"""Runs a flow, or other long work, from the command line and shows its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mrag_pipeline import wiring
from mrag_pipeline.cli import interrupts, orphans
from mrag_pipeline.cli.terminal import err
from mrag_pipeline.flows.progress import LogProgress, show_with
from mrag_pipeline.flows.reporting import reporting
from mrag_pipeline.flows.run_log import cut_short
from mrag_pipeline.library.live_progress import LiveProgress
from mrag_pipeline.ports import Progress
from mrag_pipeline.quick_imports import quick_imports

T = TypeVar("T")


def run_flow(prepare: Callable[[], Callable[[], T]], json: bool) -> T:
    """The flow's result, its progress shown; what it starts ends with this process.

    Args:
        prepare: imports the flow, and what else it will need; returns the call.
    """
    orphans.guard()
    interrupts.heed()
    interrupts.when_cut_short = cut_short  # listed as interrupted, also where it does not stop
    with reporting():  # before flows are imported
        with quick_imports():
            wiring.spare_pandas()
            flow = prepare()
        with _shown_progress(json) as progress:
            show_with(progress)
            return flow()


def run_work(work: Callable[[Progress], T], json: bool) -> T:
    """The result of work that is no run on the index, its progress shown as a flow's is."""
    interrupts.heed()
    with _shown_progress(json) as progress:
        return work(progress)


@contextmanager
def _shown_progress(json: bool) -> Iterator[Progress]:
    """A progress bar for each phase in a terminal; plain lines if piped, or with --json."""
    if err.is_terminal and not json:
        with LiveProgress(err) as bars:  # so that results can be piped
            yield bars
    else:
        yield LogProgress(lambda line: err.print(line, soft_wrap=True))
