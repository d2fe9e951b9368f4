"""Does items several at a time in threads of this process: for work that mostly waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import Any, Protocol

from mrag_pipeline.domain.work_item import WorkItem


class Stopped(Exception):
    """Another item has failed: this one stops."""


class StoppableWork(Protocol):
    """Does one item, and can be told to stop."""

    def __call__(self, item: Any) -> Any:
        """The answer. Raises: Stopped, soon after `stop`."""

    def stop(self) -> None:
        """What runs raises Stopped as soon as it can."""


class ThreadPool:
    """The worker pool of threads.

    The first error stops all: what has not begun never does, and nothing runs any more when the
    error is raised.
    """

    def __init__(self, work: StoppableWork, num_threads: int) -> None:
        """Starts nothing yet."""
        self._work = work
        self._num_threads = num_threads

    def describe(self) -> str:
        """One line for people."""
        return f"{self._num_threads} threads of this process"

    def run(self, items: Iterable[WorkItem]) -> Iterator[Any]:
        """An answer for each item, as they finish.

        Raises: the item's own error.
        """
        if self._num_threads < 2:
            yield from map(self._work, items)
            return
        failed = Event()

        def watched(item: WorkItem) -> Any:
            if failed.is_set():
                raise Stopped
            try:
                return self._work(item)
            except BaseException:
                failed.set()
                self._work.stop()
                raise

        with ThreadPoolExecutor(self._num_threads, "items") as threads:
            try:
                for future in as_completed([threads.submit(watched, item) for item in items]):
                    if not isinstance(future.exception(), Stopped):
                        yield future.result()
            except BaseException:  # an item's, or whoever asks has given up
                failed.set()
                self._work.stop()
                raise

    def close(self) -> None:
        """Nothing to end."""
