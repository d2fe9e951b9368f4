"""A queue in which no caller's work waits for more of another's than its own share.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): each entry starts, in virtual time, when its
flow's previous one ends, or now; the earliest start is next. A caller with little to do is served
at once, one with much gets what the others leave.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Entries of several flows; in the order of arrival within one."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, float, T]] = []  # start, arrival, cost, entry
        self._ends: dict[Hashable, float] = {}  # of each flow's last entry, in virtual time
        self._now = 0.0  # virtual time: the start of the entry that was taken last
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: T, flow: Hashable, cost: float) -> None:
        """Adds an entry.

        Args:
            flow: whose it is; cost: how much of the time it takes, in any unit.
        """
        start = max(self._now, self._ends.get(flow, 0.0))
        self._ends[flow] = start + cost
        self._arrivals += 1
        heapq.heappush(self._entries, (start, self._arrivals, cost, entry))

    def next_cost(self) -> float:
        """The cost of the entry that is next; there must be one."""
        return self._entries[0][2]

    def take(self) -> T:
        """The entry that is next; there must be one."""
        self._now, _, _, entry = heapq.heappop(self._entries)
        if not self._entries:
            self._ends.clear()
        elif len(self._ends) > 2 * len(self._entries) + 100:
            self._ends = {flow: end for flow, end in self._ends.items() if end > self._now}
        return entry
