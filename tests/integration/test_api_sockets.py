"""The API behind a real server and real sockets, with the real guard and observer around it."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from httpx_sse import EventSource

from mrag_pipeline.llm.chat import ChatStream
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.backend import Ask
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import Keys
from mrag_pipeline.serving.telemetry.observer import RequestObserver
from mrag_pipeline.settings.llm import LlmSpec
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.chat_server import DONE, a_chat_server, a_chunk, streaming
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.living_index import Living
from tests.support.query_service import QUERY, a_living

SPEC = ServeSpec()


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """The toy index."""
    return a_living(tmp_path_factory.mktemp("living"))


class Watched(InProcessBackend):
    """Can wait forever; notes cancelled calls."""

    def __init__(self, living: Living, waits: bool = False) -> None:
        super().__init__(FakeEncoder(num_heads=3), FakeSegmenter(), living.index)
        self.waits = waits
        self.begun = threading.Event()
        self.cancelled = threading.Event()

    async def answer(self, asks: Sequence[Ask], seconds: float) -> list[Answer]:
        self.begun.set()
        try:
            if self.waits:
                await asyncio.sleep(3600)
            return await super().answer(asks, seconds)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@contextmanager
def serving(
    backend: InProcessBackend, answerer: Answerer | None = None, spec: ServeSpec = SPEC
) -> Iterator[int]:
    """The API on a port of its own."""
    observer = RequestObserver(spec)
    app = create_api(backend, spec, KeyGuard(spec, Keys(())), observer, answerer)
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    _until(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        backend.close()


def test_a_hung_up_search_is_given_up(living: Living) -> None:
    """The backend's call is cancelled when the socket closes, long before its time is over."""
    backend = Watched(living, waits=True)
    with serving(backend) as port:
        body = b'{"query": "a"}'
        head = (
            f"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + body)
            assert backend.begun.wait(5)
            assert not backend.cancelled.wait(0.2)
        assert backend.cancelled.wait(3)
        assert httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200


def test_half_a_body_is_refused_when_its_time_is_over(living: Living) -> None:
    """Though bytes of it go on to arrive; a stream of answers may take longer."""
    head = "POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with (
        serving(Watched(living), spec=ServeSpec(timeout_s=0.6)) as port,
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        connection.settimeout(0.2)
        said = b""
        for _ in range(50):
            try:
                said += connection.recv(4096)
                if b"too-slow" in said:
                    break
            except TimeoutError:
                connection.sendall(b" ")
        assert said.startswith(b"HTTP/1.1 408"), said
        assert b"connection: close" in said.lower()


def test_words_arrive_while_they_are_written(living: Living) -> None:
    """Through every layer of middleware: nothing collects the stream."""
    slow = streaming(a_chunk("Bees "), a_chunk("hum.", "stop"), DONE, pause_s=0.5)
    arrived: dict[str, float] = {}
    with a_chat_server(slow) as (url, _):
        answerer = Answerer(ChatStream(LlmSpec(url=url, model="m")), 3000)
        with (
            serving(Watched(living), answerer) as port,
            httpx.stream(
                "POST",
                f"http://127.0.0.1:{port}/v1/answer",
                json={"query": QUERY, "stream": True},
            ) as response,
        ):
            assert response.headers["x-request-id"]
            for event in EventSource(response).iter_sse():
                arrived.setdefault(event.event, time.monotonic())
    assert arrived["done"] - arrived["text"] > 0.3
    assert arrived["text"] >= arrived["search"]


def test_a_hung_up_stream_ends_the_models_answer(living: Living) -> None:
    """The chat endpoint's socket is closed too."""
    broken = threading.Event()

    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        try:
            for _ in range(400):
                handler.wfile.write(a_chunk("hum "))
                handler.wfile.flush()
                time.sleep(0.02)
        except OSError:
            broken.set()

    with a_chat_server(endless) as (url, _):
        answerer = Answerer(ChatStream(LlmSpec(url=url, model="m")), 3000)
        with serving(Watched(living), answerer) as port:
            with httpx.stream(
                "POST",
                f"http://127.0.0.1:{port}/v1/answer",
                json={"query": QUERY, "stream": True},
            ) as response:
                for event in EventSource(response).iter_sse():
                    if event.event == "text":
                        break
            assert broken.wait(4)


def test_a_hundred_questions_at_once_are_each_answered_their_own(living: Living) -> None:
    """Every caller gets the answer to what it asked."""
    names = {"herding dog": "dog", "giant star": "star", "butter cake": "cake"}

    async def ask(client: httpx.AsyncClient, query: str) -> tuple[str, str]:
        response = await client.post("/v1/search", json={"query": query, "k": 1})
        return query, response.json()["hits"][0]["document_id"]

    async def ask_all(port: int) -> list[tuple[str, str]]:
        limits = httpx.Limits(max_connections=20)
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
            return await asyncio.gather(*(ask(client, query) for query in [*names] * 34))

    with serving(Watched(living)) as port:
        assert set(asyncio.run(ask_all(port))) == set(names.items())


def test_a_problem_has_the_id_of_its_response(
    living: Living, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller's own id goes through headers, problem and log line."""
    with caplog.at_level(logging.WARNING), serving(Watched(Living(tmp_path, []))) as port:
        response = httpx.post(
            f"http://127.0.0.1:{port}/v1/search",
            json={"query": "a"},
            headers={"X-Request-ID": "mine-7"},
        )
    assert response.status_code == 503
    assert response.headers["x-request-id"] == "mine-7"
    assert json.loads(response.text)["request_id"] == "mine-7"
    assert "request_id=mine-7" in caplog.text


def _until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
