"""How long the server waits for a request, and how many connections one address may hold.

Nobody keeps the others out by sending half a request, or by holding very many connections.
uvicorn limits neither; these are the limits that HAProxy has before replicas (ray/haproxy.py).
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from mrag_pipeline.serving.address_limit import CONNECTIONS

# Seconds until a request's headers have arrived, from the connection or from their first byte on.
REQUEST_S = 10.0
FILES = 8 * CONNECTIONS  # that the process may have open: several such addresses, and the index's


def allow_many_connections() -> None:
    """Raises this process's limit of open files as far as it may, up to FILES.

    Many systems begin with 1,024, which one address's connections would use up.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def limited_protocol(
    request_s: float = REQUEST_S, connections: int | None = CONNECTIONS
) -> type[asyncio.Protocol]:
    """Uvicorn's protocol with both limits; the class counts its own connections.

    Args:
        connections: that one address may hold; None for no limit.
    """
    counts: Counter[str] = Counter()
    base: Any = AutoHTTPProtocol

    class Limited(base):  # type: ignore[misc]
        """One connection."""

        _late: asyncio.TimerHandle | None = None
        _peer = ""

        def connection_made(self, transport: Any) -> None:
            """Refuses one too many of an address; waits for the first request."""
            super().connection_made(transport)
            self._peer = str((transport.get_extra_info("peername") or ("",))[0])
            counts[self._peer] += 1
            if connections is not None and counts[self._peer] > connections:
                transport.abort()
            else:
                self._wait(transport)

        def data_received(self, data: bytes) -> None:
            """Stops waiting when the headers are complete."""
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()
            elif self._late is None:
                self._wait(self.transport)

        def connection_lost(self, exc: Exception | None) -> None:
            """Counts one fewer."""
            self._stop_waiting()
            counts[self._peer] -= 1
            if counts[self._peer] <= 0:
                del counts[self._peer]
            super().connection_lost(exc)

        def _wait(self, transport: Any) -> None:
            loop = asyncio.get_running_loop()
            self._late = loop.call_later(request_s, transport.abort)

        def _stop_waiting(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Limited
