"""A proxy before an S3 server: it counts requests, and breaks those that a test names."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Literal, NamedTuple

from tests.support.loopback_server import LoopbackServer, Quiet

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>"
)

Break = Literal["busy", "drop", "hang", ""]  # answered 503; cut; never answered; passed on


class Asked(NamedTuple):
    """One request as it came."""

    method: str
    path: str  # with its query
    num_bytes: int


class Proxy(LoopbackServer):
    """Listens while the block runs; the signed Host header passes unchanged."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Before the server at that port of loopback; by TLS with a certificate of the test's."""
        super().__init__(self._handler(port), tls)
        self.asked: list[Asked] = []
        self.broken: Callable[[Asked], Break] = lambda asked: ""
        self.delay_s = 0.0
        self.most_at_once = 0
        self._at_once = 0
        self._counting = threading.Lock()
        self._ended = threading.Event()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        super().__exit__(kind, error, trace)

    def count(self, *methods: str) -> int:
        """Requests since the last `forget`, of these methods or of all."""
        return sum(not methods or one.method in methods for one in self.asked)

    def forget(self) -> None:
        """Counts from here on."""
        self.asked.clear()

    @contextmanager
    def _waited_for(self) -> Iterator[None]:
        with self._counting:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        yield
        with self._counting:
            self._at_once -= 1

    def _handler(self, port: int) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                body = self._body()
                asked = Asked(self.command, self.path, len(body))
                proxy.asked.append(asked)
                with proxy._waited_for():
                    time.sleep(proxy.delay_s)
                broken = proxy.broken(asked)
                if broken == "hang":
                    proxy._ended.wait(60)
                if broken in ("hang", "drop"):
                    self.close_connection = True
                    self.connection.close()
                elif broken == "busy":
                    self._answer(503, {}, SLOW_DOWN)
                else:
                    self._forward(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815

            def _forward(self, body: bytes) -> None:
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    upstream.putrequest(self.command, self.path, True, True)
                    for name, value in self.headers.items():
                        if name.lower() != "expect":
                            upstream.putheader(name, value)
                    upstream.endheaders(body)
                    answer = upstream.getresponse()
                    content = answer.read()
                except OSError:
                    self.close_connection = True
                    self.connection.close()
                    return
                finally:
                    upstream.close()
                self._answer(answer.status, dict(answer.getheaders()), content)

            def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                length = str(len(content))
                for name, value in headers.items():
                    if name.lower() == "content-length" and self.command == "HEAD":
                        length = value
                    elif name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def _body(self) -> bytes:
                """As it came: signed chunks stay what they are."""
                if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                raw = b""
                while True:
                    head = self.rfile.readline()
                    size = int(head.partition(b";")[0], 16)
                    raw += head + self.rfile.read(size + 2 if size else 0)
                    while not size:
                        trailer = self.rfile.readline()
                        raw += trailer
                        if trailer in (b"\r\n", b""):
                            return raw

        return Handler
