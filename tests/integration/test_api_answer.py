"""/v1/answer over a real chat endpoint on loopback, whole and as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from httpx_sse import EventSource, ServerSentEvent
from starlette.testclient import TestClient

from mrag_pipeline.llm.chat import ChatStream
from mrag_pipeline.serving.answering import NO_PASSAGES, Answerer
from mrag_pipeline.serving.backend import Backend
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.http.problems import MEDIA_TYPE
from mrag_pipeline.serving.unguarded import NoObserver, OpenGuard
from mrag_pipeline.settings.llm import LlmSpec
from mrag_pipeline.settings.serve import ServeSpec
from mrag_pipeline.wire.schemas import (
    AnswerEnd,
    Problem,
    SearchAnswer,
    TextPiece,
    WordedAnswer,
)
from tests.support.chat_server import (
    ANSWER,
    DONE,
    Turn,
    a_chat_server,
    a_chunk,
    plain,
    streaming,
)
from tests.support.living_index import Living
from tests.support.query_service import QUERY, TENANTS, Bound, a_backend, a_client, a_living

ASKED = {"query": QUERY, "k": 3}


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    """The toy index."""
    return a_living(tmp_path_factory.mktemp("living"))


@pytest.fixture
def backend(living: Living) -> Iterator[Backend]:
    opened = a_backend(living)
    yield opened
    opened.close()


def an_answerer(url: str, tokens: int = 3000, **settings: Any) -> Answerer:
    return Answerer(ChatStream(LlmSpec(url=url, model="m", **settings)), tokens)


def a_service(backend: Backend, url: str, tokens: int = 3000, **settings: Any) -> TestClient:
    return a_client(backend, answerer=an_answerer(url, tokens, **settings))


def events_of(client: TestClient, body: dict[str, Any]) -> list[ServerSentEvent]:
    with client.stream("POST", "/v1/answer", json={**body, "stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        return list(EventSource(response).iter_sse())  # type: ignore[arg-type]


def test_an_answer_has_its_sources(backend: Backend) -> None:
    """The model gets the numbered passages and the question; the response has both."""
    with a_chat_server(ANSWER) as (url, asked):
        response = a_service(backend, url).post("/v1/answer", json=ASKED)
    answer = WordedAnswer.model_validate_json(response.content, strict=True)
    assert (answer.answer, answer.model) == ("Bees hum.", "m")
    assert [one.number for one in answer.citations] == [1, 2, 3]
    assert [one.hit for one in answer.citations] == answer.search.hits
    assert answer.prompt_tokens > 0
    [request] = asked
    [system, user] = request["messages"]
    assert "cite" in system["content"]
    for one in answer.citations:
        assert f'<passage number="{one.number}"' in user["content"]
        assert one.hit.text in user["content"]
    assert user["content"].endswith(f"Question: {QUERY}")


def test_an_answer_is_streamed_as_events(backend: Backend) -> None:
    """What was found first, then the words as they come, then the end with the sources."""
    with a_chat_server(ANSWER) as (url, _):
        events = events_of(a_service(backend, url), ASKED)
    assert [event.event for event in events] == ["search", "text", "text", "done"]
    search = SearchAnswer.model_validate_json(events[0].data, strict=True)
    said = [TextPiece.model_validate_json(one.data, strict=True).text for one in events[1:3]]
    end = AnswerEnd.model_validate_json(events[3].data, strict=True)
    assert said == ["Bees ", "hum."]
    assert end.answer == "Bees hum."
    assert [one.hit for one in end.citations] == search.hits


def test_words_come_as_they_are_written(backend: Backend) -> None:
    """The first piece is there long before the last is written."""
    slow = streaming(a_chunk("Bees "), a_chunk("hum.", "stop"), DONE, pause_s=0.4)
    with a_chat_server(slow) as (url, _):
        app = create_api(backend, ServeSpec(), OpenGuard(), NoObserver(), an_answerer(url))
        arrived = _arrivals(app, {**ASKED, "stream": True})
    [first] = [at for at, text in arrived if b"Bees" in text and b"event: text" in text]
    [last] = [at for at, text in arrived if b"event: done" in text]
    assert last - first > 0.3


def test_line_breaks_of_other_alphabets_do_not_break_events(backend: Backend) -> None:
    """A reader that splits lines at U+2028 and U+0085 still gets whole JSON."""
    with a_chat_server(streaming(a_chunk("a\u2028b\x85c\r\n", "stop"), DONE)) as (url, _):
        body = {**ASKED, "stream": True}
        text = a_service(backend, url).post("/v1/answer", json=body).text
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    assert json.loads(lines[1].removeprefix("data: ")) == {"text": "a\u2028b\x85c\r\n"}


def test_without_a_model_it_is_not_configured(backend: Backend) -> None:
    """501 says what to set; a wrong body is still told first."""
    client = a_client(backend)
    response = client.post("/v1/answer", json=ASKED)
    assert response.status_code == 501
    assert "llm.url" in Problem.model_validate_json(response.content).fix
    assert client.post("/v1/answer", json={"query": ""}).status_code == 422


@pytest.mark.parametrize(
    ("turn", "status"),
    [
        (plain(401, {"error": "Incorrect API key provided: sk-1234"}), 502),
        (plain(200, {"choices": []}), 502),
        (streaming(a_chunk("Bees ")), 502),
        (streaming(a_chunk("Bees "), pause_s=1.5), 504),
    ],
    ids=["key", "shape", "broken-off", "slow"],
)
def test_a_model_that_fails_is_a_problem(backend: Backend, turn: Turn, status: int) -> None:
    """A status before anything is sent, an event after that; never the endpoint's own text."""
    with a_chat_server(turn) as (url, _):
        client = a_service(backend, url, timeout_s=0.8)
        response = client.post("/v1/answer", json=ASKED)
        events = events_of(client, ASKED)
    assert response.status_code == status
    assert response.headers["content-type"] == MEDIA_TYPE
    assert "sk-1234" not in response.text
    assert events[0].event == "search"
    assert events[-1].event == "error"
    told = Problem.model_validate_json(events[-1].data)
    assert told.status == status
    assert told.title == response.json()["title"]
    assert url not in response.text + events[-1].data


def test_a_search_that_fails_has_a_status_though_streamed(backend: Backend) -> None:
    """Nothing is streamed before the search has ended well."""
    with a_chat_server(ANSWER) as (url, asked):
        body = {**ASKED, "strategy": "fusion", "stream": True}
        response = a_service(backend, url).post("/v1/answer", json=body)
    assert response.status_code == 422
    assert asked == []


def test_the_budget_of_tokens_holds(backend: Backend) -> None:
    """Passages beyond it are left out; more than the service gives is refused."""
    with a_chat_server(ANSWER) as (url, _):
        answer = a_service(backend, url, 30).post("/v1/answer", json={**ASKED, "k": 5}).json()
        client = a_service(backend, url, 70)
        refused = client.post("/v1/answer", json={**ASKED, "max_context_tokens": 71})
        none_fits = a_service(backend, url, tokens=3).post("/v1/answer", json=ASKED)
    assert 15 < answer["prompt_tokens"] <= 30
    assert 0 < len(answer["citations"]) < len(answer["search"]["hits"])
    assert "at most 70" in refused.json()["expected"]
    assert "3 tokens" in none_fits.json()["detail"]


def test_nothing_found_is_said_without_asking_the_model(living: Living) -> None:
    """A tenant without documents; a bound key's passages are its own."""
    backend = a_backend(living, TENANTS)
    with a_chat_server(ANSWER) as (url, asked):
        nobody = a_client(backend, TENANTS, Bound("nobody"), answerer=an_answerer(url))
        answer = nobody.post("/v1/answer", json=ASKED).json()
        assert (answer["answer"], answer["citations"]) == (NO_PASSAGES, [])
        assert asked == []
        mine = a_client(backend, TENANTS, Bound("umbrella"), answerer=an_answerer(url))
        mine.post("/v1/answer", json={**ASKED, "k": 5})
    [request] = asked
    assert "sword" in request["messages"][1]["content"]
    assert "herding dog of the hills guards" not in request["messages"][1]["content"]


def test_the_requests_time_bounds_the_words(backend: Backend) -> None:
    """timeout_s is the search's and the model's together: 504, or an error event."""
    slow = streaming(*(a_chunk("hum ") for _ in range(60)), pause_s=0.05)
    with a_chat_server(slow) as (url, _):
        client = a_service(backend, url)
        began = time.monotonic()
        response = client.post("/v1/answer", json={**ASKED, "timeout_s": 0.5})
        events = events_of(client, {**ASKED, "timeout_s": 0.5})
        assert time.monotonic() - began < 2.5
    assert response.status_code == 504
    assert events[-1].event == "error"
    assert json.loads(events[-1].data)["status"] == 504


def test_a_client_that_leaves_ends_the_models_answer(backend: Backend) -> None:
    """The connection to the chat endpoint is closed, so it stops generating."""
    broken: list[float] = []
    began = time.monotonic()

    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        try:
            for _ in range(200):
                handler.wfile.write(a_chunk("hum "))
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            broken.append(time.monotonic() - began)

    with a_chat_server(endless) as (url, _):
        app = create_api(backend, ServeSpec(), OpenGuard(), NoObserver(), an_answerer(url))
        _arrivals(app, {**ASKED, "stream": True}, leaves_at=b"event: text")
        for _ in range(60):
            if broken:
                break
            time.sleep(0.05)
    assert broken
    assert broken[0] < 5


def _arrivals(
    app: Any, body: dict[str, Any], leaves_at: bytes | None = None
) -> Sequence[tuple[float, bytes]]:
    """When each part of a response was sent; the client leaves after the part that holds that."""
    messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
    arrived: list[tuple[float, bytes]] = []

    async def run() -> None:
        leaving = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await leaving.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            arrived.append((time.monotonic(), message.get("body", b"")))
            if leaves_at is not None and leaves_at in message.get("body", b""):
                leaving.set()

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/answer",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "asgi": {"version": "3.0", "spec_version": "2.4"},
        }
        await asyncio.wait_for(app(scope, receive, send), 20.0)

    asyncio.run(run())
    return arrived
