"""What one caller may still ask of this replica: so many in any minute, so many at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mrag_pipeline.errors import ConfigError, TooManyRequests

MINUTE_S = 60.0
BUSY_RETRY_S = 1.0  # when one of the requests under way may be done is anyone's guess


class Allowance:
    """A caller's share. Used from one event loop only: it holds no lock.

    The exact rule, not an approximation by fixed windows or buckets: in no stretch of 60 seconds
    are more than `per_minute` let through. It keeps that many times, 8 bytes each and a little.
    """

    def __init__(
        self, per_minute: int, at_once: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._at_once = at_once
        self._clock = clock
        self._taken: deque[float] = deque()  # when each was let through, oldest first
        self._running = 0

    def spend(self, cost: int = 1, before: int = 0) -> None:
        """Takes so many requests' worth, all or nothing.

        Args:
            before: how many the same request has already taken.
        Raises: TooManyRequests, with the seconds until it would be let through; ConfigError if
            it never will.
        """
        if cost + before > self._per_minute:
            raise ConfigError(
                f"a batch that counts as {cost + before} requests",
                f"at most {self._per_minute}, the key's requests in a minute",
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
                "wait as Retry-After says, and ask less often",
                retry_after_s=self._taken[over - 1] + MINUTE_S - now,
            )
        self._taken.extend([now] * cost)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """One of the requests under way, until the end of the block.

        Raises: TooManyRequests.
        """
        if self._running >= self._at_once:
            raise TooManyRequests(
                "too many requests at once with this key",
                f"at most {self._at_once} under way",
                "wait for one of them to end",
                retry_after_s=BUSY_RETRY_S,
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
