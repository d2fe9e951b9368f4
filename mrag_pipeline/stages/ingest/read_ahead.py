"""Reads from storage ahead of time, several requests at once.

A request to an object store takes tens of milliseconds whatever its size; one after the other,
requests for a million files take a day.
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
    read: Callable[[Item], Answer], items: Iterable[Item], num_threads: int = THREADS
) -> Iterator[Answer]:
    """The results of `read` for each item, in order; at most `num_threads` are held or awaited.

    The first error ends it: reads that have not begun never do.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(num_threads, "read_ahead") as threads:
        pending: deque[Future[Answer]] = deque()
        try:
            for item in islice(waiting, num_threads):
                pending.append(threads.submit(read, item))
            while pending:
                answer = pending.popleft().result()
                for item in islice(waiting, 1):
                    pending.append(threads.submit(read, item))
                yield answer
        finally:
            for future in pending:
                future.cancel()
