"""The chat model's client against a real HTTP server on loopback."""

from __future__ import annotations

from typing import Any

import pytest
from tenacity import wait_none

from mrag_pipeline.errors import ConfigError, LlmRefused, LlmUnavailable
from mrag_pipeline.llm import chat
from mrag_pipeline.llm.chat import ChatModel
from mrag_pipeline.settings.llm import LlmSpec
from tests.support.chat_server import a_chat_server, completion, plain


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setitem(chat.RETRIES, "wait", wait_none())


def test_sub_queries_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request to chat/completions, with the key from the environment."""
    monkeypatch.setenv("MRAG_LLM_API_KEY", "a-key")
    with a_chat_server(plain(200, completion("1. bees\n2. taxes"))) as (url, requests):
        model = ChatModel(LlmSpec(url=url, model="m"))
        assert model.sub_queries("bees and taxes") == ["bees", "taxes"]
        model.close()
    [request] = requests
    assert request["path"] == "/v1/chat/completions"
    assert request["model"] == "m"
    assert request["key"] == "Bearer a-key"
    assert "bees and taxes" in request["messages"][0]["content"]


def test_a_busy_server_is_retried() -> None:
    """One 503 does not fail the request."""
    with a_chat_server(plain(503, {}), plain(200, completion("bees"))) as (url, requests):
        assert ChatModel(LlmSpec(url=url, model="m")).sub_queries("q") == ["bees"]
    assert len(requests) == 2


def test_a_server_that_stays_busy_is_an_error() -> None:
    """After three attempts; the error names the URL and the status."""
    with (
        a_chat_server(plain(503, {})) as (url, requests),
        pytest.raises(LlmUnavailable, match="503"),
    ):
        ChatModel(LlmSpec(url=url, model="m")).sub_queries("q")
    assert len(requests) == 3


@pytest.mark.parametrize(
    "answer", [(401, {"error": "no key"}), (200, {"choices": []}), (200, completion("\n"))]
)
def test_an_unusable_answer_is_refused_at_once(answer: tuple[int, Any]) -> None:
    """A wrong key, another format or an empty text is not retried."""
    with a_chat_server(plain(*answer)) as (url, requests), pytest.raises(LlmRefused):
        ChatModel(LlmSpec(url=url, model="m")).sub_queries("q")
    assert len(requests) == 1


def test_no_model_is_a_config_error() -> None:
    """Without a URL nothing is sent."""
    with pytest.raises(ConfigError, match=r"llm\.url"):
        ChatModel(LlmSpec())
