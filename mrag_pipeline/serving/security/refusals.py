"""Refusals take turns, so that callers who are refused and ask again at once slow nobody down.

A refusal costs a process a millisecond. 300 callers who send the next request as soon as the last
one is refused would take all of its time (docs/decisions/0109). So of each key, and of all who
have none, a burst is refused at once and the rest a few a second; who waits for a refusal sends
nothing meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrag_pipeline.serving.address_limit import CONNECTIONS

BURST = 20  # refused at once: a program that goes too far, a person's mistakes
PER_S = 20.0
LONGEST_S = 10.0  # that a refusal is held back: so long a connection costs nothing but memory
MOST_HELD = CONNECTIONS // 2  # of all callers: behind a proxy they have one address
TOO_MANY = 429


class Turns:
    """The line of one caller's refusals. Use it from one event loop only: it has no lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() - BURST / PER_S  # when the next refusal's turn comes

    def seconds(self) -> float:
        """How long the refusal that joins the line now is held back."""
        now = self._clock()
        turn = max(self._next, now - (BURST - 1) / PER_S)
        wait = min(LONGEST_S, max(0.0, turn - now))
        # Those who come when the line is as long as it gets do not make it longer.
        self._next = min(turn, now + LONGEST_S) + 1 / PER_S
        return wait


class PacedRefusals:
    """Holds back the 429 of a key, and every 4xx of a request without one.

    What else a key is refused for counts against its limits. The outermost middleware: logs and
    metrics have the time until a request was refused, not until it was told so.
    """

    def __init__(
        self,
        app: ASGIApp,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._app = app
        self._clock = clock
        self._sleep = sleep
        self._turns: dict[str, Turns] = {}  # by the key's name; "": no key
        self._num_held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; a refusal is sent when its turn comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held: list[Message] = []

        async def holding(message: Message) -> None:
            if held or (message["type"] == "http.response.start" and _is_held(scope, message)):
                held.append(message)
            else:
                await send(message)

        await self._app(scope, receive, holding)
        if held:
            await self._wait(self._of(_caller(scope)).seconds())
            for message in held:
                await send(message)

    async def _wait(self, seconds: float) -> None:
        if seconds <= 0 or self._num_held >= MOST_HELD:
            return
        self._num_held += 1
        try:
            await self._sleep(seconds)
        finally:
            self._num_held -= 1

    def _of(self, caller: str) -> Turns:
        if caller not in self._turns:
            self._turns[caller] = Turns(self._clock)
        return self._turns[caller]


def _caller(scope: Scope) -> str:
    return str(scope.get("state", {}).get("caller", ""))


def _is_held(scope: Scope, start: Message) -> bool:
    status = int(start["status"])
    return status == TOO_MANY or (400 <= status < 500 and not _caller(scope))
