"""What a phase that grows with the corpus is cut into."""

from __future__ import annotations

from typing import Protocol


class WorkItem(Protocol):
    """A piece of a phase: says what to read, and is small, for it is sent to a worker.

    Done twice, at once or one after the other, it leaves and answers the same.
    """

    @property
    def index(self) -> int:
        """Its number among the items of a run."""

    @property
    def num_bytes(self) -> int:
        """Of what it reads, roughly: which items should take as long as each other."""
