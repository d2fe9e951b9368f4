"""Runs a flow, or other long work, from the command line and shows its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from mrag_pipeline import wiring
from mrag_pipeline.cli import interrupts, orphans
from mrag_pipeline.cli.terminal import err
from mrag_pipeline.config import Config
from mrag_pipeline.flows.progress import LogProgress, show_with
from mrag_pipeline.flows.reporting import reporting
from mrag_pipeline.flows.run_log import LoggedRun, cut_short, logged
from mrag_pipeline.flows.run_metrics import counted
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
    _heed_interrupts()
    with reporting():  # before flows are imported
        with quick_imports():
            wiring.spare_pandas()
            flow = prepare()
        with _shown_progress(json) as progress:
            show_with(progress)
            return flow()


@contextmanager
def recorded(
    config: Config,
    kind: str,
    seconds: Mapping[str, float],
    lock: AbstractContextManager[None] | None = None,
) -> Iterator[LoggedRun]:
    """The block is a run that `mrag runs` lists, for work that needs no flow.

    Ctrl-C and SIGTERM end it in order from here on, so that it is listed as interrupted.

    Args: as of `run_log.logged`.
    """
    _heed_interrupts()
    with logged(config, kind, seconds, lock) as run:
        yield run


def run_work(work: Callable[[Progress], T], json: bool) -> T:
    """The result of work that needs no flow, its progress shown and counted as a flow's is."""
    interrupts.heed()
    with _shown_progress(json) as progress:
        return work(counted(progress))


def _heed_interrupts() -> None:
    interrupts.heed()
    interrupts.when_cut_short = cut_short


@contextmanager
def _shown_progress(json: bool) -> Iterator[Progress]:
    """A progress bar for each phase in a terminal; plain lines if piped, or with --json."""
    if err.is_terminal and not json:
        with LiveProgress(err) as bars:  # so that results can be piped
            yield bars
    else:
        yield LogProgress(lambda line: err.print(line, soft_wrap=True))
