"""Answers in words, whole and piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mrag_pipeline.client import (
    AnswerEnd,
    AnswerUnreadable,
    Client,
    SearchAnswer,
    ServiceBusy,
    ServiceProblem,
    ServiceUnreachable,
    TextPiece,
    WordedAnswer,
)
from tests.support.client_service import ANSWER, URL, Scripted, each_client, problem

END: dict[str, Any] = {
    "answer": "Bees hum [1].",
    "citations": [{"number": 1, "hit": ANSWER["hits"][0]}],
    "model": "m",
    "prompt_tokens": 7,
}


def stream(*events: tuple[str, Any], tail: str = "") -> httpx.Response:
    """The events as the service writes them."""
    text = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return httpx.Response(200, headers=headers, content=(text + tail).encode())


SEARCH, BEES, HUM, DONE = (
    ("search", ANSWER),
    ("text", {"text": "Bees\n"}),
    ("text", {"text": "hum [1]."}),
    ("done", END),
)


@each_client
def test_a_worded_answer_is_typed(asking: Any) -> None:
    """Words, citations and the search they came from."""
    service = Scripted(httpx.Response(200, json={**END, "search": ANSWER}))
    found = asking(service, "answer", "bees", max_context_tokens=100)
    assert isinstance(found, WordedAnswer)
    assert found.citations[0].hit.title == "Bees"
    assert service.requests[0].url.path == "/v1/answer"
    assert service.body() == {"query": "bees", "max_context_tokens": 100}


@each_client
def test_a_streamed_answer_comes_in_parts(asking: Any) -> None:
    """The search first, words as they come, the end last."""
    service = Scripted(stream(SEARCH, BEES, HUM, DONE))
    parts = asking(service, "stream_answer", "bees")
    assert [type(part) for part in parts] == [SearchAnswer, TextPiece, TextPiece, AnswerEnd]
    assert parts[1].text + parts[2].text == "Bees\nhum [1]."
    assert parts[3].citations[0].number == 1
    assert service.body() == {"query": "bees", "stream": True}


@each_client
def test_events_of_a_newer_service_are_left_out(asking: Any) -> None:
    """And comments, which keep connections open."""
    service = Scripted(stream(SEARCH, ("thought", 1), DONE, tail=": still here\n\n"))
    parts = asking(service, "stream_answer", "bees")
    assert [type(part) for part in parts] == [SearchAnswer, AnswerEnd]


@each_client
def test_an_error_event_is_raised(asking: Any) -> None:
    """As the problem in the event; it is not retried."""
    told = {"title": "Busy", "status": 503, "detail": "why", "request_id": "r1"}
    service = Scripted(stream(SEARCH, ("error", told)))
    with pytest.raises(ServiceBusy) as found:
        asking(service, "stream_answer", "bees")
    assert (found.value.detail, found.value.request_id) == ("why", "r1")
    assert len(service.requests) == 1


@each_client
def test_a_stream_that_stops_is_no_answer(asking: Any) -> None:
    """A partial answer is an error."""
    with pytest.raises(ServiceUnreachable, match="in the middle"):
        asking(Scripted(stream(SEARCH, BEES)), "stream_answer", "bees")


@each_client
def test_a_connection_that_breaks_in_a_stream_is_told(asking: Any) -> None:
    """By the client's own error."""

    class Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b'event: text\ndata: {"text": "Bees"}\n\n'
            raise httpx.ReadError("cut")

        async def __aiter__(self) -> Any:
            for piece in self:
                yield piece

    def service(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Cut())

    with pytest.raises(ServiceUnreachable, match="ReadError"):
        asking(service, "stream_answer", "bees")


@each_client
def test_a_busy_service_is_asked_again_before_it_streams(asking: Any) -> None:
    """No event has been sent yet."""
    service = Scripted(problem(503, "0"), stream(SEARCH, DONE))
    assert len(asking(service, "stream_answer", "bees")) == 2
    assert len(service.requests) == 2


@each_client
def test_a_refusal_to_stream_is_a_problem(asking: Any) -> None:
    """With what it says, though the answer was to be streamed."""
    with pytest.raises(ServiceProblem, match="501 No: why"):
        asking(Scripted(problem(501)), "stream_answer", "bees")


@each_client
@pytest.mark.parametrize(
    "answer", [httpx.Response(200, json=END), stream(("search", {"version": 1}))]
)
def test_what_does_not_stream_is_told(asking: Any, answer: httpx.Response) -> None:
    """JSON instead of events, or events of another shape."""
    with pytest.raises(AnswerUnreadable):
        asking(Scripted(answer), "stream_answer", "bees")


def test_a_stream_that_is_left_is_let_go() -> None:
    """Leaving the loop early closes the connection."""
    closed = []

    class Long(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b'event: text\ndata: {"text": "Bees"}\n\n'

        def close(self) -> None:
            closed.append(True)

    def service(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Long())

    with Client(URL, transport=httpx.MockTransport(service)) as client:
        parts = client.stream_answer("bees")
        next(parts)
        parts.close()  # type: ignore[attr-defined]
    assert closed == [True]
