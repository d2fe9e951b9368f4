"""Chooses the next item for a worker, tells which items are late, and limits them. Pure.

Some files can only be read from their start: compressed ones, JSON arrays. Their shards go to
one worker one after the other, so that it reads on where it stopped; two workers share such a
file by halves. Shards of other files are taken in order: any worker can seek to them.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.domain.work_item import WorkItem

Item = TypeVar("Item", bound=WorkItem)

MIN_FINISHED = 3  # items; with fewer, none is late
MIN_LATE_S = 2.0  # an item that has taken less is never late
_REMEMBERED = 1_000  # the last finished items: the pace of a long run may change


@runtime_checkable
class OfSlices(Protocol):
    """An item that reads slices of files, in order: a shard, or a part of a comparison."""

    @property
    def first(self) -> Slice:
        """Where it begins."""

    @property
    def last(self) -> Slice:
        """Where it ends."""


class ItemQueue(Generic[Item]):
    """Items that no worker has yet. Every item is taken once, unless it is put back."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._first: deque[Item] = deque()  # put back
        self._fresh: deque[deque[Item]] = deque()  # runs that no worker is on, in order
        self._begun: dict[int, deque[Item]] = {}  # by the item before the run's first
        self._length = 0
        self._newest: Item | None = None
        self._of_newest: deque[Item] = deque()  # the run that it is in, or was
        for item in items:
            self.add(item)

    def __len__(self) -> int:
        return self._length

    def add(self, item: Item) -> None:
        """Adds an item behind the others."""
        if self._newest is None or not reads_on(self._newest, item):
            self._of_newest = deque([item])
            self._fresh.append(self._of_newest)
        elif self._of_newest:
            self._of_newest.append(item)
        else:  # the newest was taken: who did it reads on
            self._of_newest = self._begun[self._newest.index] = deque([item])
        self._newest = item
        self._length += 1

    def take(self, last: Item | None) -> Item:
        """The next item for a worker whose previous item was `last`.

        In order of preference: an item that was put back; the one that reads on from `last`; the
        next in order; the middle of the longest run that another worker is reading.
        Raises: IndexError if the queue is empty.
        """
        if self._first:
            self._length -= 1
            return self._first.popleft()
        if last is not None and last.index in self._begun:
            run = self._begun.pop(last.index)
        elif self._fresh:
            run = self._fresh.popleft()
        elif self._begun:
            run = self._second_half()
        else:
            raise IndexError("no item is left")
        item = run.popleft()
        if run:
            self._begun[item.index] = run
        self._length -= 1
        return item

    def put_back(self, item: Item) -> None:
        """Makes the item the next to be taken."""
        self._first.appendleft(item)
        self._length += 1

    def _second_half(self) -> deque[Item]:
        before = max(self._begun, key=lambda index: len(self._begun[index]))
        run = self._begun.pop(before)
        middle = len(run) // 2
        if middle:
            self._begun[before] = deque(islice(run, middle))
        second = deque(islice(run, middle, None))
        if run is self._of_newest:
            self._of_newest = second
        return second


@dataclass(frozen=True, slots=True)
class Limit:
    """How many items are done at a time, of those that it holds for."""

    most: int
    holds_for: Callable[[Any], bool] = lambda _: True


class LimitedItems:
    """The items for which a limit holds."""

    def __init__(self, limit: Limit | None) -> None:
        """Starts empty; without a limit it stays so."""
        self._limit = limit
        self._numbers: set[int] = set()

    def add(self, item: WorkItem) -> None:
        """One of them, if the limit holds for it."""
        if self._limit is not None and self._limit.holds_for(item):
            self._numbers.add(item.index)

    def __contains__(self, item: WorkItem) -> bool:
        return item.index in self._numbers

    def num_kept_waiting(self, missing: Set[int]) -> int:
        """How many of them no worker may begin now, however many workers there are.

        Args:
            missing: the numbers of the items that have no answer.
        """
        if self._limit is None:
            return 0
        return max(0, len(self._numbers & missing) - self._limit.most)

    def are_enough(self, item: WorkItem, assigned: Iterable[Iterable[WorkItem]]) -> bool:
        """Whether the item is one of them, and workers have as many of them as may be.

        Args:
            assigned: the items of each worker.
        """
        if self._limit is None or item not in self:
            return False
        numbers = {own.index for items in assigned for own in items}
        return len(numbers & self._numbers) >= self._limit.most


def reads_on(last: WorkItem, item: WorkItem) -> bool:
    """Whether an item begins where the last one stopped in a file that is read from its start.

    Items that read no slices of files begin anew.
    """
    if not (isinstance(last, OfSlices) and isinstance(item, OfSlices)):
        return False
    before, piece = last.last, item.first
    return (
        piece.unit == "records"
        and (before.path, before.unit, before.stamp) == (piece.path, piece.unit, piece.stamp)
        and before.stop == piece.start
    )


class Pace:
    """Learns how long items take for their size, and tells which are late."""

    def __init__(self, factor: float) -> None:
        """An item is late after `factor` times the median time for its size; 0: never."""
        self._factor = factor
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)  # seconds a source byte

    def add(self, item: WorkItem, seconds: float) -> None:
        """Records that an item took `seconds`."""
        self._rates.append(seconds / max(1, item.num_bytes))

    def is_late(self, item: WorkItem, seconds: float) -> bool:
        """Whether an item that a worker has had for `seconds` is far behind the others."""
        if self._factor <= 0 or seconds < MIN_LATE_S or len(self._rates) < MIN_FINISHED:
            return False
        usual = statistics.median(self._rates) * max(1, item.num_bytes)
        return seconds > self._factor * usual
