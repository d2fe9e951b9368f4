"""Stops reading a request body at the limit, with or without a Content-Length."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrag_pipeline.serving.http.problem_table import TooLarge
from mrag_pipeline.serving.http.problems import response_of


class BodyLimit:
    """Responds 413 before reading if Content-Length is too large, else at the limit."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on while its body stays within the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = 0
        over = False

        async def counted() -> Message:
            nonlocal seen, over
            message = await receive()
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
