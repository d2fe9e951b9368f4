"""One caller's limits on this replica: requests in any minute, and requests at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mrag_pipeline.errors import ConfigError, TooManyRequests

MINUTE_S = 60.0
BUSY_RETRY_S = 1.0  # an estimate: the end of a request under way is unknown


class Allowance:
    """A caller's allowance. Use it from one event loop only: it has no lock.

    The limit is exact, without fixed windows or buckets: no stretch of 60 seconds has more than
    `per_minute` requests. It stores the time of each of them.
    """

    def __init__(
        self, per_minute: int, at_once: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._at_once = at_once
        self._clock = clock
        self._taken: deque[float] = deque()  # when each request was admitted, oldest first
        self._running = 0

    def spend(self, cost: int = 1, before: int = 0) -> None:
        """Counts `cost` requests, all or none.

        Args:
            before: how many the same HTTP request has already cost.
        Raises: TooManyRequests, with the seconds until they would be admitted; ConfigError for
            more than are ever allowed.
        """
        if cost + before > self._per_minute:
            raise ConfigError(
                f"a batch that counts as {cost + before} requests",
                f"at most {self._per_minute}, the key's limit for a minute",
                "send fewer searches in one batch",
            )
        now = self._clock()
        while self._taken and now - self._taken[0] >= MINUTE_S:
            self._taken.popleft()
        over = len(self._taken) + cost - self._per_minute
        if over > 0:
            raise TooManyRequests(
                "too many requests with this key",
                f"at most {self._per_minute} a minute",
                "wait as long as Retry-After says, and send fewer requests",
                retry_after_s=self._taken[over - 1] + MINUTE_S - now,
            )
        self._taken.extend([now] * cost)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Holds one of the slots for requests under way, until the end of the block.

        Raises: TooManyRequests.
        """
        if self._running >= self._at_once:
            raise TooManyRequests(
                "too many requests at once with this key",
                f"at most {self._at_once} under way",
                "wait until one of them has ended",
                retry_after_s=BUSY_RETRY_S,
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
