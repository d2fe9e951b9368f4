"""How many threads of torch a part of the service computes with."""

from __future__ import annotations

import os
from collections.abc import Callable

# More do not speed up queries, and there may be other replicas.
MAX_THREADS = 4


def threads_for(configured: int) -> int:
    """The configured number; 0: one for each core, up to MAX_THREADS."""
    return configured or min(MAX_THREADS, os.cpu_count() or 1)


def threads_by_load(use_threads: Callable[[int], None], threads: int) -> Callable[[int], None]:
    """For QueryEncoder's `before_batch`: a single request may use several threads.

    When several requests are in a batch, others wait too and need the cores.
    """
    return lambda num_requests: use_threads(threads if num_requests == 1 else 1)
