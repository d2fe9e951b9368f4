"""Batches requests: those that arrive while a batch runs form the next one.

`serve.batch` forms a batch when its first request arrives and queues the batches, so requests that
arrive one by one run one by one however long they wait. Here a batch is formed when it can start
(docs/decisions/0063), from all callers' requests in turn, and of bounded cost (0083).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from mrag_pipeline.errors import MragError
from mrag_pipeline.serving.parts.batch_time import BatchTime
from mrag_pipeline.serving.parts.fair_queue import FairQueue
from mrag_pipeline.settings.serve import ServeSpec

log = logging.getLogger(__name__)

R = TypeVar("R")
A = TypeVar("A")
_Waiting = list[tuple[R, "asyncio.Future[A | MragError | Exception]"]]


class Batches(Generic[R, A]):
    """Runs the requests of one event loop's callers in batches, in threads."""

    def __init__(
        self,
        threads: Executor,
        work: Callable[[Sequence[R]], Sequence[A | MragError]],
        spec: ServeSpec,
        at_once: int,
        max_cost: float = math.inf,
    ) -> None:
        """Ready for requests.

        Args:
            work: turns a batch into outcomes, in the order of its requests; runs in a thread.
            at_once: how many batches may run at the same time.
            max_cost: of the requests of a batch; one that costs more is a batch of its own.
        """
        self._threads = threads
        self._work = work
        self._at_once = at_once
        self._max_cost = max_cost
        self._time = BatchTime()
        self._waiting: FairQueue[tuple[R, asyncio.Future[A | MragError | Exception]]] = FairQueue()
        self._tasks: set[asyncio.Task[None]] = set()  # keeps them from garbage collection
        self._running = 0
        self.configure(spec)

    def configure(self, spec: ServeSpec) -> None:
        """Takes `max_batch` and `batch_wait_ms` from the next batch on."""
        self._max_batch = spec.max_batch
        self._wait_s = spec.batch_wait_ms / 1000

    async def __call__(self, request: R, cost: float = 1.0, flow: Hashable = None) -> A | MragError:
        """The outcome of this request; a request cancelled before its batch starts is left out.

        Args:
            cost: how much of the time it takes, in any unit.
            flow: whose it is; flows are served in turn. None: it is a flow of its own.
        Raises: what `work` raises for this request alone.
        """
        answered = asyncio.get_running_loop().create_future()
        self._waiting.put((request, answered), answered if flow is None else flow, cost)
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
                if self._wait_s > 0 and len(self._waiting) < self._max_batch:
                    await asyncio.sleep(self._wait_s)
                await self._run(*self._taken())
        finally:
            self._running -= 1  # no await since the check: the next request starts a new task

    async def _run(self, batch: _Waiting[R, A], cost: float) -> None:
        if not batch:
            return
        loop = asyncio.get_running_loop()
        requests = [request for request, _ in batch]
        results: Sequence[A | MragError | Exception]

        def timed() -> list[A | MragError | Exception]:
            started = time.perf_counter()
            found = outcomes(self._work, requests)
            self._time.took(cost, time.perf_counter() - started)
            return found

        try:
            results = await loop.run_in_executor(self._threads, timed)
        except Exception as error:  # the threads are shut down: the replica is stopping
            results = [error] * len(batch)
        for (_, answered), outcome in zip(batch, results, strict=True):
            if not answered.done():
                answered.set_result(outcome)

    def _taken(self) -> tuple[_Waiting[R, A], float]:
        """The requests of the next batch, and what they cost together."""
        batch: _Waiting[R, A] = []
        cost = first = 0.0
        while self._waiting and len(batch) < self._max_batch:
            more = self._waiting.next_cost()
            if batch and not (
                cost + more <= self._max_cost and self._time.fits(first, cost + more)
            ):
                break
            request, answered = self._waiting.take()
            if not answered.done():  # else its caller has left
                batch.append((request, answered))
                cost += more
                first = first or more
        return batch, cost


def outcomes(
    work: Callable[[Sequence[R]], Sequence[A | MragError]], requests: Sequence[R]
) -> list[A | MragError | Exception]:
    """The work's outcome for each request; if the batch fails, each request is tried alone."""
    try:
        return list(work(requests))
    except Exception as error:  # each caller gets its own
        if len(requests) == 1:
            return [error]
        log.warning("batch_failed requests=%d error=%s", len(requests), type(error).__name__)
        return [outcome for request in requests for outcome in outcomes(work, [request])]
