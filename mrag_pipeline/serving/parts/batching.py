"""Requests worked on together: those that come while others are worked on are the next batch.

`serve.batch` forms a batch as soon as the first request is there and queues the batches, so that
requests which come one by one are worked on one by one however long they wait. Here a batch is
formed when there is a place to work on it (docs/decisions/0063).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from mrag_pipeline.errors import MragError
from mrag_pipeline.settings.serve import ServeSpec

log = logging.getLogger(__name__)

R = TypeVar("R")
A = TypeVar("A")
_Waiting = list[tuple[R, "asyncio.Future[A | MragError | Exception]"]]


class Batches(Generic[R, A]):
    """Callers of one event loop, whose requests a few threads work on, in batches."""

    def __init__(
        self,
        threads: Executor,
        work: Callable[[Sequence[R]], Sequence[A | MragError]],
        spec: ServeSpec,
        at_once: int,
    ) -> None:
        """Nothing waits yet.

        Args:
            work: what a batch comes to, in the order of its requests; runs in a thread.
            at_once: how many batches may run at a time.
        """
        self._threads = threads
        self._work = work
        self._at_once = at_once
        self._waiting: deque[tuple[R, asyncio.Future[A | MragError | Exception]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()  # or they are garbage
        self._running = 0
        self.configure(spec)

    def configure(self, spec: ServeSpec) -> None:
        """From the next batch on it is `max_batch` requests, `batch_wait_ms` waited for."""
        self._most = spec.max_batch
        self._wait_s = spec.batch_wait_ms / 1000

    async def __call__(self, request: R) -> A | MragError:
        """What the work comes to for this request; one that is cancelled before is left out.

        Raises: what breaks the work for this request alone.
        """
        answered = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answered))
        if self._running < self._at_once:
            self._running += 1
            task = asyncio.create_task(self._until_none_waits())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        outcome: A | MragError | Exception = await answered
        if isinstance(outcome, Exception) and not isinstance(outcome, MragError):
            raise outcome
        return outcome

    async def _until_none_waits(self) -> None:
        try:
            while self._waiting:
                if self._wait_s > 0 and len(self._waiting) < self._most:
                    await asyncio.sleep(self._wait_s)
                await self._run(self._taken())
        finally:
            self._running -= 1  # in the same breath: whoever comes next begins anew

    async def _run(self, batch: _Waiting[R, A]) -> None:
        if not batch:
            return
        loop = asyncio.get_running_loop()
        requests = [request for request, _ in batch]
        found: Sequence[A | MragError | Exception]
        try:
            found = await loop.run_in_executor(
                self._threads, lambda: outcomes(self._work, requests)
            )
        except Exception as error:  # no thread to be had: the replica ends
            found = [error] * len(batch)
        for (_, answered), outcome in zip(batch, found, strict=True):
            if not answered.done():
                answered.set_result(outcome)

    def _taken(self) -> _Waiting[R, A]:
        batch: _Waiting[R, A] = []
        while self._waiting and len(batch) < self._most:
            one = self._waiting.popleft()
            if not one[1].done():  # its caller has left
                batch.append(one)
        return batch


def outcomes(
    work: Callable[[Sequence[R]], Sequence[A | MragError]], requests: Sequence[R]
) -> list[A | MragError | Exception]:
    """What the work gives for each request; alone, if together it gives an error."""
    try:
        return list(work(requests))
    except Exception as error:  # each caller is answered with its own
        if len(requests) == 1:
            return [error]
        log.warning("batch_failed requests=%d error=%s", len(requests), type(error).__name__)
        return [one for request in requests for one in outcomes(work, [request])]
