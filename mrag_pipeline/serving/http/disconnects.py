"""Work that is cancelled when its caller disconnects, or when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mrag_pipeline.serving.backend import out_of_time
from mrag_pipeline.serving.http.problem_table import ClientLeft

T = TypeVar("T")


async def unless_left(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """The work's result; cancels the work when the client leaves or the seconds are over.

    Read the request's body before.
    Raises: ClientLeft, OutOfTime.
    """
    working = asyncio.create_task(_in_time(work, seconds))
    watching = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and watching.exception() is None:
            raise client_left()
        return await working
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def client_left() -> ClientLeft:
    """The error for a caller that disconnected."""
    return ClientLeft("the client closed the connection")


class EventStream(StreamingResponse):
    """Server-sent events; the stream is cancelled as soon as the client leaves."""

    media_type = "text/event-stream"

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Adds the header that stops proxies (nginx) from buffering the events."""
        super().init_headers({"X-Accel-Buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events.

        Starlette listens for disconnects only up to this version of ASGI; with a later one it
        notices when a send fails, which may be a minute of the chat model's work too late.
        """
        await super().__call__({**scope, "asgi": {"spec_version": "2.3"}}, receive, send)


async def _in_time(work: Coroutine[Any, Any, T], seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise out_of_time(seconds) from None


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
