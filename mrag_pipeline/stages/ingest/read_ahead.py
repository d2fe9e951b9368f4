"""Many small waits at once: what storage is asked for next is asked for ahead of time.

A request to an object store takes tens of milliseconds whatever its size; one after the other,
those of a million files take a day.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

THREADS = 16


def read_ahead(
    ask: Callable[[Item], Answer], items: Iterable[Item], num_threads: int = THREADS
) -> Iterator[Answer]:
    """What `ask` gives for each item, in order; at most `num_threads` are there or awaited.

    The first error ends it: what has not begun never does.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(num_threads, "read_ahead") as threads:
        asked: deque[Future[Answer]] = deque()
        try:
            for item in islice(waiting, num_threads):
                asked.append(threads.submit(ask, item))
            while asked:
                answer = asked.popleft().result()
                for item in islice(waiting, 1):
                    asked.append(threads.submit(ask, item))
                yield answer
        finally:
            for future in asked:
                future.cancel()
