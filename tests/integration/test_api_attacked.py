"""300 callers at once: each is answered or refused, none hangs, and another key is served."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from mrag_pipeline.query.answer import Answer
from mrag_pipeline.serving.backend import Ask
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.http.patience import limited_protocol
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import ApiKey, Keys, digest
from mrag_pipeline.serving.telemetry.observer import RequestObserver
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.living_index import Living
from tests.support.query_service import QUERY, a_living

NUM_CALLERS = 300
NAMES = ["good", *(f"caller-{number}" for number in range(NUM_CALLERS))]
KEYS = Keys(ApiKey(name, digest(f"secret of {name}")) for name in NAMES)
BODY = {"query": QUERY, "k": 1}


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """The toy index."""
    return a_living(tmp_path_factory.mktemp("living"))


class Slow(InProcessBackend):
    """Takes a while for a request, as a model does, and one after the other."""

    def __init__(self, living: Living, spec: ServeSpec, pause_s: float) -> None:
        super().__init__(FakeEncoder(num_heads=3), FakeSegmenter(), living.index, spec)
        self._pause_s = pause_s

    async def answer(self, asks: Sequence[Ask], seconds: float) -> list[Answer]:
        await asyncio.sleep(self._pause_s)
        return await super().answer(asks, seconds)


@contextmanager
def serving(living: Living, spec: ServeSpec, pause_s: float = 0.0) -> Iterator[str]:
    """A service with keys behind real sockets, as `mrag serve` has it in one process."""
    backend = Slow(living, spec, pause_s)
    guard = KeyGuard(spec, KEYS)
    app = create_api(backend, spec, guard, RequestObserver(spec, door=guard.for_operators()))
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off", http=limited_protocol())
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        backend.close()


def key(name: str) -> dict[str, str]:
    """The headers with a caller's key."""
    return {"Authorization": f"Bearer secret of {name}"}


async def crowd(url: str, names: Sequence[str]) -> list[httpx.Response]:
    """One request of each, all at once, each on a connection of its own."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=90) as client:
        return await asyncio.gather(
            *(client.post("/v1/search", json=BODY, headers=key(name)) for name in names)
        )


async def asked_meanwhile(url: str, names: Sequence[str]) -> tuple[Counter[int], list[int]]:
    """What the crowd got, and what the well-behaved key got while it was there."""
    good: list[int] = []
    # A connection for each request: on a busy machine a kept one is closed while it is used again.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=90, limits=limits) as client:
        crowding = asyncio.create_task(crowd(url, names))
        await asyncio.sleep(0.2)
        while not crowding.done():
            answered = await client.post("/v1/search", json=BODY, headers=key("good"))
            good.append(answered.status_code)
    responses = await crowding
    for response in responses:
        check(response)
    return Counter(response.status_code for response in responses), good


def check(response: httpx.Response) -> None:
    """An answer, or a problem that says when to come back."""
    if response.status_code == 200:
        assert len(response.json()["hits"]) == 1
        return
    assert response.status_code in (429, 503), response.text
    assert int(response.headers["Retry-After"]) >= 1
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["detail"]
    assert problem["fix"]


def test_300_requests_of_one_key_leave_the_others_theirs(living: Living) -> None:
    """As many as a key may have at once are answered, the rest refused by turns."""
    spec = ServeSpec(host="0.0.0.0", concurrent_requests=16)
    with serving(living, spec, pause_s=0.5) as url:
        crowded, good = asyncio.run(asked_meanwhile(url, ["caller-0"] * NUM_CALLERS))
    assert crowded[200] >= 16
    assert crowded[429] == NUM_CALLERS - crowded[200] > 200
    assert len(good) > 3
    assert set(good) == {200}


def test_300_keys_at_once_are_answered_or_asked_to_come_back(living: Living) -> None:
    """What the queues do not take is refused with a problem; none waits for ever."""
    spec = ServeSpec(host="0.0.0.0", max_ongoing=40, max_queued=60)
    with serving(living, spec) as url:
        crowded, good = asyncio.run(asked_meanwhile(url, NAMES[1:]))
        after = httpx.post(f"{url}/v1/search", json=BODY, headers=key("good"), timeout=60)
    assert sum(crowded.values()) == NUM_CALLERS
    assert set(crowded) <= {200, 503}
    assert crowded[200] >= 100
    assert set(good) <= {200, 503}
    assert after.status_code == 200


def test_300_unknown_keys_are_refused_by_turns_and_nobody_else_waits(living: Living) -> None:
    """The first at once, the last after seconds, which cost the service nothing."""
    with serving(living, ServeSpec(host="0.0.0.0")) as url:

        async def both() -> tuple[list[float], list[float]]:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=url, limits=limits, timeout=90) as client:

                async def ask(name: str, status: int) -> float:
                    began = time.monotonic()
                    response = await client.post("/v1/search", json=BODY, headers=key(name))
                    assert response.status_code == status
                    return time.monotonic() - began

                refused = [asyncio.create_task(ask("nobody", 401)) for _ in range(100)]
                await asyncio.sleep(0.5)
                good = [await ask("good", 200) for _ in range(10)]
                return [await one for one in refused], good

        refused, good = asyncio.run(both())
    # 100 less the burst of 20, at 20 a second.
    assert max(refused) >= 4
    assert max(good) < 3
