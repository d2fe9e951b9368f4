"""Stops reading a request body at the limit of its bytes, or of its time."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrag_pipeline.serving.http.problem_table import TooLarge, TooSlow
from mrag_pipeline.serving.http.problems import response_of


class BodyLimit:
    """Responds 413 before reading if Content-Length is too large, else at the limit.

    A body that is not complete in time is 408: one that is sent slowly holds its key's place.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_s = max_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on while its body stays within the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = 0
        over = is_complete = False
        deadline = asyncio.get_running_loop().time() + self._max_s

        async def counted() -> Message:
            nonlocal seen, over, is_complete
            try:
                async with asyncio.timeout_at(None if is_complete else deadline):
                    message = await receive()
            except TimeoutError:
                over = True
                raise self._too_late() from None
            is_complete = not message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                over = True
                raise self._refusal()
            return message

        async def closing(message: Message) -> None:
            # The rest of the body is not read, so the connection cannot be reused.
            if over and message["type"] == "http.response.start":
                _close(scope, message)
            await send(message)

        if self._declared_too_long(scope):
            over = True
            await response_of(self._refusal(), scope)(scope, receive, closing)
            return
        await self._app(scope, counted, closing)

    def _declared_too_long(self, scope: Scope) -> bool:
        length = Headers(scope=scope).get("content-length", "")
        # The server refuses a length that is not a number; here the body is counted as it arrives.
        return length.isdecimal() and int(length[:20]) > self._max_bytes

    def _too_late(self) -> TooSlow:
        return TooSlow(
            f"the body is not complete after {self._max_s:g} s",
            "a body that is sent at once",
            "send the request again",
        )

    def _refusal(self) -> TooLarge:
        return TooLarge(
            "the body is larger than this service accepts",
            f"at most {self._max_bytes:,} bytes",
            "send less, or several requests",
        )


def _close(scope: Scope, message: Message) -> None:
    # HTTP/2 and later forbid the header.
    if scope.get("http_version", "1.1").startswith("1"):
        MutableHeaders(scope=message)["connection"] = "close"
