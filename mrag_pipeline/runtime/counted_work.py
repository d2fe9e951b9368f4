"""Counts the items that the run's own process does, as those of workers are counted."""

from __future__ import annotations

import time
from typing import Any

from mrag_pipeline.domain.work_item import WorkItem, rows_of
from mrag_pipeline.runtime import usage
from mrag_pipeline.runtime.usage import DRIVER, NodeUsage
from mrag_pipeline.stages.thread_pool import Stopped


class CountedWork:
    """Does as another; items, seconds, bytes, rows and errors are those of the node DRIVER."""

    def __init__(self, inner: Any) -> None:
        """Is one more worker of it."""
        self._inner = inner
        usage.add(nodes={DRIVER: NodeUsage(workers=1)})  # known before its first error

    def __call__(self, item: WorkItem) -> Any:
        """The other's answer, or its error."""
        began = time.monotonic()
        try:
            answer = self._inner(item)
        except Stopped:  # another item has failed, and is counted
            raise
        except Exception:
            self._count(began, errors=1)
            raise
        self._count(began, num_bytes=item.num_bytes, num_rows=rows_of(answer))
        return answer

    def stop(self) -> None:
        """See StoppableWork."""
        self._inner.stop()

    def _count(self, began: float, num_bytes: int = 0, num_rows: int = 0, errors: int = 0) -> None:
        seconds = time.monotonic() - began
        done = NodeUsage(1, seconds, num_bytes=num_bytes, num_rows=num_rows, errors=errors)
        usage.add(nodes={DRIVER: done})


def count_retry() -> None:
    """An item is tried again in this process."""
    usage.add(nodes={DRIVER: NodeUsage(retries=1)})
