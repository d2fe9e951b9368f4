"""What a phase that grows with the corpus is cut into."""

from __future__ import annotations

from typing import Protocol


class WorkItem(Protocol):
    """A piece of a phase: says what to read, and is small, for it is sent to a worker.

    Done again it leaves and answers the same. Most items may be done by two workers at once; a
    phase whose items may not says so to its pool.
    """

    @property
    def index(self) -> int:
        """Its number among the items of a run."""

    @property
    def num_bytes(self) -> int:
        """Of what it reads, roughly: which items should take as long as each other."""
