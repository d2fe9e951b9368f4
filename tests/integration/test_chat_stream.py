"""The chat model's streamed answers against a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tenacity import wait_none

from mrag_pipeline.errors import ConfigError, LlmRefused, LlmUnavailable, OutOfTime
from mrag_pipeline.llm import chat
from mrag_pipeline.llm.chat import ChatStream
from mrag_pipeline.settings.llm import LlmSpec
from tests.support.chat_server import (
    ANSWER,
    DONE,
    Turn,
    a_chat_server,
    a_chunk,
    completion,
    plain,
    streaming,
)

MESSAGES = [{"role": "user", "content": "bees?"}]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setitem(chat.RETRIES, "wait", wait_none())


def pieces(url: str, seconds: float | None = None, **settings: Any) -> list[str]:
    async def collect() -> list[str]:
        stream = ChatStream(LlmSpec(url=url, model="m", **settings))
        try:
            return [piece async for piece in stream.pieces(MESSAGES, seconds)]
        finally:
            await stream.close()

    return asyncio.run(collect())


def test_an_answer_arrives_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request for a stream, with the key; empty pieces are skipped."""
    monkeypatch.setenv("MRAG_LLM_API_KEY", "a-key")
    with a_chat_server(ANSWER) as (url, requests):
        assert pieces(url) == ["Bees ", "hum."]
    [request] = requests
    assert request["path"] == "/v1/chat/completions"
    assert request["key"] == "Bearer a-key"
    assert request["stream"] is True
    assert request["messages"] == MESSAGES


def test_line_breaks_of_other_alphabets_stay_in_their_piece() -> None:
    """An unescaped U+2028 in an event's data does not end its line."""
    part = '{"choices": [{"delta": {"content": "a\u2028b\x85c"}, "finish_reason": "stop"}]}'
    with a_chat_server(streaming(f"data: {part}\n\n".encode())) as (url, _):
        assert pieces(url) == ["a\u2028b\x85c"]


def test_an_endpoint_that_does_not_stream_yields_one_piece() -> None:
    """A complete answer is accepted in place of a stream."""
    with a_chat_server(plain(200, completion("Bees hum."))) as (url, _):
        assert pieces(url) == ["Bees hum."]


def test_a_busy_endpoint_is_retried() -> None:
    """A 503 before the first piece does not fail the request."""
    with a_chat_server(plain(503, {}), ANSWER) as (url, requests):
        assert pieces(url) == ["Bees ", "hum."]
    assert len(requests) == 2


def test_an_endpoint_that_stays_busy_is_an_error() -> None:
    """After three attempts; the error has the status."""
    with (
        a_chat_server(plain(429, {})) as (url, requests),
        pytest.raises(LlmUnavailable, match="429"),
    ):
        pieces(url)
    assert len(requests) == 3


@pytest.mark.parametrize(
    "turn",
    [
        plain(401, {"error": "no key"}),
        plain(200, {"choices": []}),
        streaming(b"data: no json\n\n"),
        streaming(b'data: {"error": {"message": "overheated"}}\n\n'),
        streaming(b"data: [1]\n\n"),
        streaming(a_chunk(None, "stop"), DONE),
        streaming(DONE),
    ],
    ids=["status", "shape", "json", "error", "list", "empty", "done"],
)
def test_an_unusable_answer_is_refused_at_once(turn: Turn) -> None:
    """A wrong key, another format or an empty text is not retried."""
    with a_chat_server(turn) as (url, requests), pytest.raises(LlmRefused):
        pieces(url)
    assert len(requests) == 1


def test_an_answer_that_breaks_off_is_an_error() -> None:
    """A stream without its end mark is not a complete answer, and is not retried."""
    broken = a_chat_server(streaming(a_chunk("Bees ")))
    with (
        broken as (url, requests),
        pytest.raises(LlmUnavailable, match="closed the stream"),
    ):
        pieces(url)
    assert len(requests) == 1


def test_a_slow_answer_is_out_of_time() -> None:
    """The limit holds for the complete answer: quick pieces do not extend it."""
    slow = streaming(*(a_chunk("hum ") for _ in range(100)), pause_s=0.05)
    with a_chat_server(slow) as (url, _):
        began = time.monotonic()
        with pytest.raises(OutOfTime):
            pieces(url, seconds=0.5)
        assert time.monotonic() - began < 3


def test_the_config_bounds_the_seconds() -> None:
    """llm.timeout_s holds even if the caller would wait longer."""
    slow = streaming(a_chunk("hum"), pause_s=1.0)
    with a_chat_server(slow) as (url, _), pytest.raises(OutOfTime):
        pieces(url, seconds=60.0, timeout_s=0.3)


def test_a_closed_port_is_an_error() -> None:
    """After three attempts; the error has the cause."""
    with pytest.raises(LlmUnavailable, match="ConnectError"):
        pieces("http://127.0.0.1:9/v1")


def test_no_model_is_a_config_error() -> None:
    """Without a URL nothing is sent."""
    with pytest.raises(ConfigError, match=r"llm\.url"):
        ChatStream(LlmSpec())
