"""Checks which host a request names: against web pages that reach the service by a name of theirs.

A service with keys takes the names that the operator lists, if there are any. One without keys is
for this machine only: loopback keeps other machines out, but a local browser lets any web page
send requests to the service, and lets a page whose name resolves to 127.0.0.1 (DNS rebinding) read
the answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from mrag_pipeline.serving.http.problems import request_id_of, respond
from mrag_pipeline.serving.security.keys import is_loopback
from mrag_pipeline.wire.schemas import Problem

PROBES = ("/livez", "/readyz", "/metrics")  # asked for by address
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(:[0-9]+)?")


class NamedHosts:
    """Refuses requests for a host that the operator has not named; probes name addresses."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on requests for the named hosts, for loopback, and for probes."""
        if scope["type"] in ("http", "websocket") and scope.get("path") not in PROBES:
            named = _HOST.fullmatch(Headers(scope=scope).get("host", "").lower())
            if named is None or not (named[1] in self._hosts or is_loopback(named[1])):
                problem = Problem(
                    title="Misdirected request",
                    status=421,
                    detail="the request names a host that this service does not have",
                    expected="a host of serve.hosts",
                    request_id=request_id_of(scope),
                )
                await respond(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class LoopbackHosts:
    """Refuses requests for other host names, and those from other sites' pages."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on requests from this machine to itself."""
        if scope["type"] in ("http", "websocket"):
            problem = self._problem(Headers(scope=scope), scope)
            if problem is not None:
                await respond(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _problem(self, headers: Headers, scope: Scope) -> Problem | None:
        host = headers.get("host", "")
        named = _HOST.fullmatch(host.lower())
        if named is None or not (named[1] == self._host or is_loopback(named[1])):
            return Problem(
                title="Misdirected request",
                status=421,
                detail="the request names another host than this machine",
                expected="http://127.0.0.1 or http://localhost",
                fix="a service for other hosts needs API keys: `mrag keys new NAME`",
                request_id=request_id_of(scope),
            )
        origin = headers.get("origin")
        # Browsers send the page's origin with every POST; "null" is a page without one.
        if origin is not None and _netloc(origin) != host.lower():
            return Problem(
                title="Not for other sites",
                status=403,
                detail="the request comes from a page of another site",
                expected="a request from the service's own page, or from no page",
                request_id=request_id_of(scope),
            )
        return None


def _netloc(url: str) -> str | None:
    """Host and port of a URL, None if the URL is invalid."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return None
