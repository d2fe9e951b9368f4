"""Ids of requests: a caller's own if it is plain, else a new one."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from mrag_pipeline.serving.security.keys import PREFIX

HEADER = "X-Request-ID"
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id(given: str) -> str:
    """The caller's id if it is safe in a log line and cannot be a key; else a new one."""
    is_safe = _PLAIN.fullmatch(given) and PREFIX not in given
    return given if is_safe else uuid.uuid4().hex


class PlainRequestIds:
    """Middleware: the app finds one id in the request's headers, and it is a plain one.

    Ray Serve returns in each response the id that it found in the request, whatever that is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on with such an id."""
        if scope["type"] == "http":
            given = Headers(scope=scope).getlist(HEADER)
            MutableHeaders(scope=scope)[HEADER] = request_id(given[0] if len(given) == 1 else "")
        await self._app(scope, receive, send)
