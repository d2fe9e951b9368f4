"""How much fits into a batch so that it takes little longer than its first request alone.

Where a batch costs as much as its requests one by one (Milvus Lite, a CPU), a large one gains
nothing and keeps everybody else waiting. Where the first costs most (a server, a GPU), the others
are nearly free. Which it is shows in the batches themselves: seconds = start + rate * cost, fitted
to the last ones (docs/decisions/0109).
"""

from __future__ import annotations

SHORT_S = 0.1  # a batch may take so long in any case
STRETCH = 1.5  # times as long as its first request alone
FORGET = 0.9  # weight of what was known, beside each new batch


class BatchTime:
    """What batches took, by their cost; in any unit of cost."""

    def __init__(self) -> None:
        self._weight = self._cost = self._seconds = 0.0  # sums
        self._cost_2 = self._cost_seconds = 0.0

    def took(self, cost: float, seconds: float) -> None:
        """A batch of this cost took so long."""
        self._weight = FORGET * self._weight + 1
        self._cost = FORGET * self._cost + cost
        self._seconds = FORGET * self._seconds + seconds
        self._cost_2 = FORGET * self._cost_2 + cost * cost
        self._cost_seconds = FORGET * self._cost_seconds + cost * seconds

    def fits(self, first: float, cost: float) -> bool:
        """Whether a batch of this cost takes little longer than its first request's cost alone.

        True as long as too little is known: batches of one cost do not tell, and a larger one will.
        """
        if self._weight < 1.5 or self._cost <= 0:
            return True
        mean_cost, mean_s = self._cost / self._weight, self._seconds / self._weight
        if max(cost / mean_cost, 1.0) * mean_s <= SHORT_S:
            return True
        spread = self._cost_2 / self._weight - mean_cost**2
        if spread < (0.05 * mean_cost) ** 2:
            return cost <= 2.5 * first
        together = self._cost_seconds / self._weight - mean_cost * mean_s
        rate = min(max(together / spread, 0.0), mean_s / mean_cost)
        start = mean_s - rate * mean_cost
        return start + rate * cost <= max(SHORT_S, STRETCH * (start + rate * first))
