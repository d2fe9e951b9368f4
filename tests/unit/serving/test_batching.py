"""Which requests share a batch, and what each caller gets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mrag_pipeline.errors import MragError, OutOfTime
from mrag_pipeline.serving.parts.batching import Batches, outcomes
from mrag_pipeline.settings.serve import ServeSpec


def doubled(requests: Sequence[int]) -> list[int | MragError]:
    if 13 in requests:
        raise ZeroDivisionError
    return [OutOfTime("late") if one < 0 else 2 * one for one in requests]


class Held:
    """Work that waits until it is released, and records its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, requests: Sequence[int]) -> list[int | MragError]:
        self.batches.append(list(requests))
        self.begun.release()
        assert self.go.acquire(timeout=30)
        return doubled(requests)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as some:
        yield some


def batches(threads: ThreadPoolExecutor, work: Any, at_once: int = 1, **spec: Any) -> Any:
    return Batches(threads, work, ServeSpec(**spec), at_once)


async def begun(held: Held) -> None:
    assert await asyncio.to_thread(held.begun.acquire, timeout=30)


def test_a_request_that_breaks_a_batch_costs_only_itself() -> None:
    """The others are retried alone; an MragError is an outcome like any other."""
    found = outcomes(doubled, [1, 13, -1, 2])
    assert [found[0], found[3]] == [2, 4]
    assert isinstance(found[1], ZeroDivisionError)
    assert isinstance(found[2], OutOfTime)


def test_a_fault_is_raised_and_an_error_is_given(threads: ThreadPoolExecutor) -> None:
    """Ray would wrap a raised error; so only bugs are raised."""

    async def run() -> None:
        ask = batches(threads, doubled)
        assert await ask(4) == 8
        assert isinstance(await ask(-1), OutOfTime)
        with pytest.raises(ZeroDivisionError):
            await ask(13)

    asyncio.run(run())


def test_what_comes_one_by_one_while_others_are_worked_on_is_the_next_batch(
    threads: ThreadPoolExecutor,
) -> None:
    """The first alone, then at most `max_batch` of the rest, then the remainder."""

    async def run() -> None:
        held = Held()
        ask = batches(threads, held, max_batch=3)
        first = asyncio.create_task(ask(1))
        await begun(held)
        others = []
        for number in (2, 3, 4, 5):
            others.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0)
        held.go.release(3)
        assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10]
        assert held.batches == [[1], [2, 3, 4], [5]]

    asyncio.run(run())


def test_so_many_batches_run_at_a_time_and_no_more(threads: ThreadPoolExecutor) -> None:
    """With two at once, a third request waits."""

    async def run() -> None:
        held = Held()
        ask = batches(threads, held, at_once=2)
        asked = []
        for number in (1, 2):
            asked.append(asyncio.create_task(ask(number)))
            await begun(held)
        asked += [asyncio.create_task(ask(number)) for number in (3, 4)]
        await asyncio.sleep(0.05)
        assert held.batches == [[1], [2]]
        held.go.release(4)
        assert await asyncio.gather(*asked) == [2, 4, 6, 8]
        assert sorted(one for batch in held.batches[2:] for one in batch) == [3, 4]

    asyncio.run(run())


def test_who_has_left_is_not_worked_on(threads: ThreadPoolExecutor) -> None:
    """Cancelled while it waits; the work that others wait for goes on."""

    async def run() -> None:
        held = Held()
        ask = batches(threads, held)
        first = asyncio.create_task(ask(1))
        await begun(held)
        gone, stays = asyncio.create_task(ask(2)), asyncio.create_task(ask(3))
        await asyncio.sleep(0)
        gone.cancel()
        held.go.release(2)
        assert await asyncio.gather(first, stays) == [2, 6]
        assert held.batches == [[1], [3]]
        assert gone.cancelled()

    asyncio.run(run())


def test_others_are_waited_for_if_told_so(threads: ThreadPoolExecutor) -> None:
    """Two that come within `batch_wait_ms` are one batch; settings change from the next on."""

    async def run() -> None:
        held = Held()
        ask = batches(threads, held, batch_wait_ms=200.0)
        held.go.release(9)
        first = asyncio.create_task(ask(1))
        await asyncio.sleep(0)
        assert await asyncio.gather(first, ask(2)) == [2, 4]
        assert held.batches == [[1, 2]]
        ask.configure(ServeSpec(max_batch=1))
        assert await asyncio.gather(ask(3), ask(4)) == [6, 8]
        assert held.batches[1:] == [[3], [4]]

    asyncio.run(run())


def test_nobody_waits_for_ever(threads: ThreadPoolExecutor) -> None:
    """Many callers that send their next request at once: every free slot is used again."""

    async def caller(ask: Callable[[int], Awaitable[Any]], start: int) -> None:
        for number in range(start, start + 200):
            assert await ask(number) == 2 * number

    async def run() -> None:
        ask = batches(threads, doubled, at_once=2, max_batch=4)
        starts = range(1_000, 17_000, 1_000)
        async with asyncio.timeout(60):
            await asyncio.gather(*(caller(ask, start) for start in starts))

    asyncio.run(run())


def test_without_a_thread_each_is_told() -> None:
    """A stopping replica has shut its threads down."""
    threads = ThreadPoolExecutor(1)
    threads.shutdown()

    async def run() -> None:
        with pytest.raises(RuntimeError):
            await batches(threads, doubled)(1)

    asyncio.run(run())
