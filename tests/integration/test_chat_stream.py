"""The chat model's streamed answers against a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from mrag_pipeline.errors import ConfigError, LlmRefused, LlmUnavailable, OutOfTime
from mrag_pipeline.llm.chat import ChatStream
from mrag_pipeline.settings.llm import LlmSpec
from tests.support.chat_server import ANSWER, DONE, Turn, a_chat_server, a_chunk, plain, streaming

MESSAGES = [{"role": "user", "content": "bees?"}]


def pieces(url: str, seconds: float | None = None, **settings: Any) -> list[str]:
    async def all_of_them() -> list[str]:
        stream = ChatStream(LlmSpec(url=url, model="m", **settings))
        try:
            return [piece async for piece in stream.pieces(MESSAGES, seconds)]
        finally:
            await stream.close()

    return asyncio.run(all_of_them())


def test_an_answer_comes_in_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request that asks to stream, with the key; empty pieces are left out."""
    monkeypatch.setenv("MRAG_LLM_API_KEY", "a-key")
    with a_chat_server(ANSWER) as (url, asked):
        assert pieces(url) == ["Bees ", "hum."]
    [request] = asked
    assert request["path"] == "/v1/chat/completions"
    assert request["key"] == "Bearer a-key"
    assert request["stream"] is True
    assert request["messages"] == MESSAGES


def test_line_breaks_of_other_alphabets_stay_in_their_piece() -> None:
    """U+2028 unescaped in an event's data does not end its line."""
    part = '{"choices": [{"delta": {"content": "a\u2028b\x85c"}, "finish_reason": "stop"}]}'
    with a_chat_server(streaming(f"data: {part}\n\n".encode())) as (url, _):
        assert pieces(url) == ["a\u2028b\x85c"]


def test_an_endpoint_that_does_not_stream_gives_one_piece() -> None:
    """A whole completion is an answer too."""
    whole = {"choices": [{"message": {"role": "assistant", "content": "Bees hum."}}]}
    with a_chat_server(plain(200, whole)) as (url, _):
        assert pieces(url) == ["Bees hum."]


def test_a_busy_endpoint_is_asked_again() -> None:
    """503 before the first word is not the end."""
    with a_chat_server(plain(503, {}), ANSWER) as (url, asked):
        assert pieces(url) == ["Bees ", "hum."]
    assert len(asked) == 2


def test_an_endpoint_that_stays_busy_is_told() -> None:
    """After three tries it is an error."""
    with a_chat_server(plain(429, {})) as (url, asked), pytest.raises(LlmUnavailable, match="429"):
        pieces(url)
    assert len(asked) == 3


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
def test_an_answer_that_is_none_is_refused_at_once(turn: Turn) -> None:
    """A wrong key, another format, or nothing said: no second try."""
    with a_chat_server(turn) as (url, asked), pytest.raises(LlmRefused):
        pieces(url)
    assert len(asked) == 1


def test_an_answer_that_breaks_off_is_no_answer() -> None:
    """A stream without its end is not taken for one that is whole, nor asked again."""
    broken = streaming(a_chunk("Bees "))
    with a_chat_server(broken) as (url, asked), pytest.raises(LlmUnavailable, match="broke off"):
        pieces(url)
    assert len(asked) == 1


def test_a_slow_answer_is_out_of_time() -> None:
    """The seconds are the whole answer's: many quick pieces do not stretch them."""
    slow = streaming(*(a_chunk("hum ") for _ in range(100)), pause_s=0.05)
    with a_chat_server(slow) as (url, _):
        began = time.monotonic()
        with pytest.raises(OutOfTime):
            pieces(url, seconds=0.5)
        assert time.monotonic() - began < 3


def test_the_config_bounds_the_seconds() -> None:
    """llm.timeout_s holds, however long the caller would wait."""
    slow = streaming(a_chunk("hum"), pause_s=1.0)
    with a_chat_server(slow) as (url, _), pytest.raises(OutOfTime):
        pieces(url, seconds=60.0, timeout_s=0.3)


def test_nobody_there_is_told() -> None:
    """A closed port is an error, after the tries."""
    with pytest.raises(LlmUnavailable, match="ConnectError"):
        pieces("http://127.0.0.1:9/v1")


def test_no_model_is_a_config_error() -> None:
    """Without an address nothing is sent anywhere."""
    with pytest.raises(ConfigError, match=r"llm\.url"):
        ChatStream(LlmSpec())
