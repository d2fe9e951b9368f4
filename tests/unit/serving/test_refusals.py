"""Refusals are held back by turns; answers never are."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from mrag_pipeline.serving.security.refusals import (
    BURST,
    LONGEST_S,
    MOST_HELD,
    PER_S,
    PacedRefusals,
    Turns,
)


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_a_burst_is_refused_at_once_and_the_rest_by_turns() -> None:
    """The n-th after the burst waits n turns."""
    turns = Turns(Clock())
    assert [turns.seconds() for _ in range(BURST)] == [0.0] * BURST
    assert [turns.seconds() for _ in range(3)] == pytest.approx([1 / PER_S, 2 / PER_S, 3 / PER_S])


def test_nobody_waits_longer_than_the_longest() -> None:
    """However many there are, and the line is no longer afterwards."""
    clock = Clock()
    turns = Turns(clock)
    waits = [turns.seconds() for _ in range(2_000)]
    assert max(waits) == LONGEST_S
    clock.now += LONGEST_S + (BURST + 1) / PER_S
    assert turns.seconds() == 0.0


def test_a_quiet_caller_has_its_burst_again() -> None:
    """After a second of silence."""
    clock = Clock()
    turns = Turns(clock)
    for _ in range(BURST):
        turns.seconds()
    clock.now += BURST / PER_S
    assert [turns.seconds() for _ in range(BURST)] == [0.0] * BURST
    assert turns.seconds() > 0


def test_so_many_are_held_and_no_more() -> None:
    """A held refusal takes a place among the connections: past the limit they go at once."""
    clock = Clock()
    holding = asyncio.Event()

    async def sleep(seconds: float) -> None:
        clock.waits.append(seconds)
        await holding.wait()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    async def ask() -> None:
        paced = PacedRefusals(app, clock, sleep)
        asked = [
            asyncio.create_task(paced({"type": "http"}, receive, send))
            for _ in range(BURST + MOST_HELD + 50)
        ]
        await asyncio.sleep(0)
        while sum(one.done() for one in asked) < BURST + 50:
            await asyncio.sleep(0)
        assert len(clock.waits) == MOST_HELD
        holding.set()
        await asyncio.gather(*asked)

    asyncio.run(asyncio.wait_for(ask(), 30))


def refused(status: int, caller: str = "", times: int = BURST + 1) -> tuple[list[float], int]:
    """How long responses of this status were held back, and how many messages were sent."""
    clock, sent = Clock(), 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if caller:
            scope.setdefault("state", {})["caller"] = caller
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def send(message: Message) -> None:
        nonlocal sent
        sent += 1

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def ask() -> None:
        paced = PacedRefusals(app, clock, clock.sleep)
        for _ in range(times):
            await paced({"type": "http"}, receive, send)

    asyncio.run(ask())
    return clock.waits, sent


@pytest.mark.parametrize(
    ("status", "caller", "is_held"),
    [
        (429, "acme", True),
        (401, "", True),
        (404, "", True),
        (422, "", True),
        (422, "acme", False),
        (200, "", False),
        (503, "", False),
    ],
)
def test_which_responses_are_held_back(status: int, caller: str, is_held: bool) -> None:
    """A key's own mistakes count against its minute; the service's errors are not the caller's."""
    waits, sent = refused(status, caller)
    assert bool(waits) is is_held
    assert sent == 2 * (BURST + 1)


def test_callers_have_lines_of_their_own() -> None:
    """A refusal of one does not wait for another's."""
    clock = Clock()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"caller": scope["path"]}
        await send({"type": "http.response.start", "status": 429, "headers": []})

    async def ask() -> None:
        paced = PacedRefusals(app, clock, clock.sleep)

        async def send(message: Message) -> None: ...

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        for path in [*["noisy"] * (BURST + 5), "quiet"]:
            await paced({"type": "http", "path": path}, receive, send)

    asyncio.run(ask())
    assert len(clock.waits) == 5
