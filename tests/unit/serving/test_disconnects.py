"""Work that ends when the client leaves or its time is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import Request

from mrag_pipeline.errors import ConfigError, OutOfTime
from mrag_pipeline.serving.http.disconnects import EventStream, unless_left
from mrag_pipeline.serving.http.problem_table import ClientLeft


def a_request(*messages: dict[str, Any], leaves: asyncio.Event | None = None) -> Request:
    """A request that receives the messages; its client leaves at the event, if there is one."""
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop(0)
        await (leaves or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http"}, receive)


async def give(value: int, after: float) -> int:
    await asyncio.sleep(after)
    return value


def test_work_gives_its_value() -> None:
    """A client that stays gets it."""
    assert asyncio.run(unless_left(a_request(), give(7, 0.01), 5.0)) == 7


def test_work_raises_its_error() -> None:
    """As it is."""

    async def fail() -> None:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        asyncio.run(unless_left(a_request(), fail(), 5.0))


def test_a_client_that_leaves_cancels_the_work() -> None:
    """The rest of the body is not mistaken for leaving."""
    ended: list[str] = []
    working = asyncio.Event()

    async def work() -> None:
        working.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    request = a_request({"type": "http.request", "body": b"", "more_body": False}, leaves=working)
    with pytest.raises(ClientLeft):
        asyncio.run(unless_left(request, work(), 60.0))
    assert ended == ["cancelled"]


def test_work_is_cancelled_when_its_time_is_over() -> None:
    """OutOfTime says how long it had."""
    began = time.monotonic()
    with pytest.raises(OutOfTime, match=r"0\.05 s"):
        asyncio.run(unless_left(a_request(), give(7, 3600), 0.05))
    assert time.monotonic() - began < 2


def test_a_connection_that_cannot_be_watched_does_not_end_the_work() -> None:
    """An error of receive does not count as leaving."""

    async def receive() -> dict[str, Any]:
        raise RuntimeError("no more messages")

    request = Request({"type": "http"}, receive)
    assert asyncio.run(unless_left(request, give(7, 0.01), 5.0)) == 7


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
def test_a_stream_ends_when_its_client_leaves(spec_version: str) -> None:
    """On servers of either version of ASGI, while the next event is waited for."""
    ended: list[str] = []
    sent: list[dict[str, Any]] = []
    waiting = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        try:
            yield "event: search\n\n"
            waiting.set()
            await asyncio.sleep(3600)
        finally:
            ended.append("ended")

    async def receive() -> dict[str, Any]:
        await waiting.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": spec_version}}
    asyncio.run(asyncio.wait_for(EventStream(events())(scope, receive, send), 5.0))
    assert ended == ["ended"]
    assert sent[0]["type"] == "http.response.start"
    assert dict(sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
