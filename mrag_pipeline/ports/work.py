"""The workers that embed shards, and the progress reports of a long phase."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from mrag_pipeline.domain.manifest import Receipt
from mrag_pipeline.domain.planning import Shard


class WorkerPool(Protocol):
    """Where shards are embedded."""

    def describe(self) -> str:
        """One line for people: how many workers, on what."""

    def run(self, shards: Iterable[Shard]) -> Iterator[Receipt]:
        """A receipt for each shard, as they finish, in any order.

        A worker that dies costs its shards a second try, on another worker.
        Raises: WorkerLost when a shard has failed too often; a shard's own permanent error.
        """

    def close(self) -> None:
        """Ends the workers; a second call does nothing."""


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
