"""Work items, the workers that do them, and the progress reports of a long phase.

Every phase that grows with the corpus is cut into items. The phase plans them and judges what comes
back; a pool decides where each is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from mrag_pipeline.domain.work_item import WorkItem

Item = TypeVar("Item", bound=WorkItem, contravariant=True)
Answer = TypeVar("Answer", covariant=True)

# Does one item; it holds what many items need: a model, an open index.
Work = Callable[[Any], Any]


class WorkerPool(Protocol[Item, Answer]):
    """Where items are done."""

    def describe(self) -> str:
        """One line for people: how many workers, on what."""

    def run(self, items: Iterable[Item]) -> Iterator[Answer]:
        """An answer for each item, as they finish, in any order. May be called again.

        A pool of workers takes only some items ahead of those that are being done, so a generator
        may yield more of them than fit in memory.
        A worker that dies costs its items a second try, on another worker.
        Raises: WorkerLost when an item has failed too often; an item's own permanent error.
        """

    def close(self) -> None:
        """Ends the workers; a second call does nothing."""


# Opens the pool for a phase, given the work in this process and the bytes that its items read.
OpenPool = Callable[[Work, int], WorkerPool[Any, Any]]


class Progress(Protocol):
    """Shows people how far a long phase has come."""

    def phase(self, name: str, total: int, unit: str) -> None:
        """A phase starts: `total` units of work, some perhaps already done."""

    def advance(self, done: int, facts: Mapping[str, int] | None = None) -> None:
        """`done` more units; `facts` are counts to add (documents, chunks, tokens...)."""

    def note(self, text: str) -> None:
        """One line worth reading."""

    def finish(self) -> None:
        """The phase is over."""
