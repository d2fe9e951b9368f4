"""Runs coroutines and blocking work so that a caller with a running event loop can wait for them.

A notebook has one: there, neither `asyncio.run` nor a blocking flow would work in its thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """One event loop in a thread of its own."""

    def __init__(self) -> None:
        """Starts the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="mrag-index", daemon=True
        )
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """The coroutine's future, for any thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @property
    def is_open(self) -> bool:
        """Whether it still runs."""
        return not self._loop.is_closed()

    def close(self) -> None:
        """Ends the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def in_thread(work: Callable[[], T]) -> T:
    """The result of work in a thread that has no event loop, with this context's variables."""
    result: Future[T] = Future()
    context = copy_context()

    def run() -> None:
        try:
            result.set_result(context.run(work))
        except BaseException as error:  # the caller raises it
            result.set_exception(error)

    threading.Thread(target=run, name="mrag-run", daemon=True).start()
    return result.result()
