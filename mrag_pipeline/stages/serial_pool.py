"""Does items one after the other in this process: few items, tests, debugging and pdb."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mrag_pipeline.domain.work_item import WorkItem
from mrag_pipeline.errors import TransientError
from mrag_pipeline.ports import Work


class SerialPool:
    """The worker pool without workers."""

    def __init__(
        self,
        open_work: Callable[[], Work],
        attempts: int = 1,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens nothing yet.

        Args:
            open_work: called once for each run.
            attempts: tries in all of an item whose error is transient.
            on_retry: called before each try but an item's first.
        """
        self._open_work = open_work
        self._attempts = attempts
        self._on_retry = on_retry

    def describe(self) -> str:
        """One line for people."""
        return "this process"

    def run(self, items: Iterable[Any]) -> Iterator[Any]:
        """An answer for each item, in order.

        Raises: the item's own last error, or at once its permanent error.
        """
        work = self._open_work()
        for item in items:
            yield self._tried(work, item)

    def close(self) -> None:
        """Nothing to end."""

    def _tried(self, work: Work, item: WorkItem) -> Any:
        for _ in range(self._attempts - 1):
            try:
                return work(item)
            except TransientError:
                self._on_retry()
        return work(item)


def in_this_process(work: Work, _num_bytes: int = 0) -> SerialPool:
    """The pool of a phase that needs no worker; its errors are repeated by whoever runs it."""
    return SerialPool(lambda: work)
