"""What a phase that grows with the corpus is cut into."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


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


@runtime_checkable
class OfRows(Protocol):
    """An answer to an item that tells how many rows it is of."""

    @property
    def num_rows(self) -> int:
        """Chunks, documents or vectors that it has read, written, compared or found there."""


def rows_of(answer: object) -> int:
    """How many rows the answer to an item is of; 0 where it does not tell.

    Args:
        answer: a list is one of answers that tell, or else of rows.
    """
    if isinstance(answer, list):
        is_telling = bool(answer) and isinstance(answer[0], OfRows)
        return sum(part.num_rows for part in answer) if is_telling else len(answer)
    return answer.num_rows if isinstance(answer, OfRows) else 0
