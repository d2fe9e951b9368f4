"""The server's limits for connections, over real sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import uvicorn

from mrag_pipeline.serving.http.patience import limited_protocol

REQUEST_S = 0.5
HALF = b"GET / HTTP/1.1\r\nHost: a\r\nX-Half: "
WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def _app(_scope: Any, _receive: Any, send: Any) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def _server(connections: int | None = 100) -> Iterator[int]:
    config = uvicorn.Config(
        _app,
        port=0,
        log_level="error",
        lifespan="off",
        http=limited_protocol(REQUEST_S, connections),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of one server for the tests of time."""
    with _server() as opened:
        yield opened


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def _closes_within(opened: socket.socket) -> float:
    """Seconds until the server closes the connection."""
    started = time.monotonic()
    try:
        while opened.recv(4096):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - started


def _takes(opened: socket.socket, data: bytes) -> bool:
    try:
        opened.sendall(data)
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("sent", [b"", HALF, WHOLE + HALF], ids=["nothing", "half", "second half"])
def test_a_request_that_does_not_arrive_costs_its_connection(port: int, sent: bytes) -> None:
    """Headers have their time, from the connection or from their first byte on."""
    with _connected(port) as opened:
        opened.sendall(sent)
        assert REQUEST_S * 0.8 < _closes_within(opened) < 15


def test_bytes_in_time_are_no_way_around_it(port: int) -> None:
    """One byte now and then keeps no connection open."""
    with _connected(port) as opened:
        opened.sendall(HALF)
        until = time.monotonic() + 15
        while _takes(opened, b"a"):
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_whole_request_is_answered_and_the_next_one_too(port: int) -> None:
    """On one connection, with less than the limit between them."""
    with _connected(port) as opened:
        for _ in range(3):
            opened.sendall(WHOLE)
            assert opened.recv(4096).startswith(b"HTTP/1.1 200")
            time.sleep(REQUEST_S * 0.6)


def test_an_address_has_so_many_connections_at_a_time() -> None:
    """One more is closed at once; one that has ended makes room."""
    with _server(connections=3) as port, ExitStack() as opened:
        held = [opened.enter_context(_connected(port)) for _ in range(3)]
        for one in held:
            one.sendall(WHOLE)
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
        with _connected(port) as one_more:
            assert _closes_within(one_more) < REQUEST_S * 0.8
        held[0].close()
        until = time.monotonic() + 10
        while True:
            with _connected(port) as again:
                try:
                    again.sendall(WHOLE)
                    if again.recv(4096).startswith(b"HTTP/1.1 200"):
                        break
                except ConnectionError:
                    pass
            assert time.monotonic() < until


def test_an_address_may_have_no_limit() -> None:
    """As behind a proxy, where all callers have its address."""
    with _server(connections=None) as port, ExitStack() as opened:
        for _ in range(5):
            caller = opened.enter_context(_connected(port))
            caller.sendall(WHOLE)
            assert caller.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_low_limit_of_files_is_raised_as_far_as_it_may_be() -> None:
    """In a process of its own: limits are a process's."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2048))
from mrag_pipeline.serving.http.patience import allow_many_connections
allow_many_connections()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2048))
allow_many_connections()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2048", "2048", "2048", "2048"]
