"""Work that ends when whoever asked for it hangs up, or when its time is over."""

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
    """What the work gives; it is cancelled when the client leaves or the seconds are over.

    The request's body must have been read.
    Raises: ClientLeft, OutOfTime.
    """
    working = asyncio.create_task(_in_time(work, seconds))
    watching = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and watching.exception() is None:
            raise left()
        return await working
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def left() -> ClientLeft:
    """The caller has hung up."""
    return ClientLeft("the client closed the connection")


class EventStream(StreamingResponse):
    """Server-sent events; the stream is cancelled as soon as the client leaves."""

    media_type = "text/event-stream"

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Adds what keeps proxies (nginx) from collecting the events."""
        super().init_headers({"X-Accel-Buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events.

        Starlette listens for leaving clients only up to this version of ASGI, and learns it
        later from a failing send: a model that thinks for a minute would think for nobody.
        """
        await super().__call__({**scope, "asgi": {"spec_version": "2.3"}}, receive, send)


async def _in_time(work: Coroutine[Any, Any, T], seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise out_of_time(seconds) from None


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
