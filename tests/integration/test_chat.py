"""The chat model's client against a real HTTP server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mrag_pipeline.errors import ConfigError, LlmRefused, LlmUnavailable
from mrag_pipeline.llm.chat import ChatModel
from mrag_pipeline.settings.llm import LlmSpec


@contextmanager
def a_server(answers: list[tuple[int, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Gives the answers in turn, the last one for ever; keeps what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            status, answer = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *args: Any) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()


def an_answer(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def test_sub_queries_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request to chat/completions, with the key of the environment."""
    monkeypatch.setenv("MRAG_LLM_API_KEY", "a-key")
    with a_server([(200, an_answer("1. bees\n2. taxes"))]) as (url, asked):
        model = ChatModel(LlmSpec(url=url, model="m"))
        assert model.sub_queries("bees and taxes") == ["bees", "taxes"]
        model.close()
    [request] = asked
    assert request["path"] == "/v1/chat/completions"
    assert request["model"] == "m"
    assert request["key"] == "Bearer a-key"
    assert "bees and taxes" in request["messages"][0]["content"]


def test_a_busy_server_is_asked_again() -> None:
    """503 once is not the end."""
    with a_server([(503, {}), (200, an_answer("bees"))]) as (url, asked):
        assert ChatModel(LlmSpec(url=url, model="m")).sub_queries("q") == ["bees"]
    assert len(asked) == 2


def test_a_server_that_stays_busy_is_told() -> None:
    """After three tries it is an error that says where."""
    with a_server([(503, {})]) as (url, asked), pytest.raises(LlmUnavailable, match="503"):
        ChatModel(LlmSpec(url=url, model="m")).sub_queries("q")
    assert len(asked) == 3


@pytest.mark.parametrize(
    "answer", [(401, {"error": "no key"}), (200, {"choices": []}), (200, an_answer("\n"))]
)
def test_an_answer_that_is_none_is_refused_at_once(answer: tuple[int, Any]) -> None:
    """A wrong key, another shape, or nothing said: no second try."""
    with a_server([answer]) as (url, asked), pytest.raises(LlmRefused):
        ChatModel(LlmSpec(url=url, model="m")).sub_queries("q")
    assert len(asked) == 1


def test_no_model_is_a_config_error() -> None:
    """Without an address nothing is sent anywhere."""
    with pytest.raises(ConfigError, match=r"llm\.url"):
        ChatModel(LlmSpec())
