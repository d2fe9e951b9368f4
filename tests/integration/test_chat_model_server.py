"""A real OpenAI-compatible server with a real, tiny model: what our client makes of its protocol.

The other tests of answers script the server; here nobody of ours wrote it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx_sse import EventSource

from mrag_pipeline.client import ServiceProblem
from mrag_pipeline.library.index import Index
from mrag_pipeline.llm.chat import ChatModel, ChatStream
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.settings.llm import LlmSpec
from mrag_pipeline.wire.schemas import AnswerEnd
from tests.support.chat_model import a_chat_model_server, save_chat_model
from tests.support.query_service import QUERY, a_backend, a_client, a_living

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlmSpec]:
    """The settings that reach the server."""
    pytest.importorskip("accelerate", reason="needs pip install 'transformers[serving]'")
    pytest.importorskip("openai", reason="needs pip install 'transformers[serving]'")
    folder = tmp_path_factory.mktemp("chat")
    save_chat_model(folder / "model")
    with a_chat_model_server(folder / "model", folder / "log") as url:
        yield LlmSpec(url=url, model=str(folder / "model"), timeout_s=120.0)


def test_a_streamed_answer_is_the_whole_one(spec: LlmSpec) -> None:
    """Token by token, to the end mark; the same text as in one piece, since temperature is 0."""

    async def streamed() -> list[str]:
        chat = ChatStream(spec)
        pieces = [piece async for piece in chat.pieces(MESSAGES)]
        await chat.close()
        return pieces

    pieces = asyncio.run(streamed())
    assert len(pieces) > 1
    chat = ChatModel(spec)
    whole = chat._ask("hello")
    chat.close()
    assert "".join(pieces) == whole
    assert whole.isalpha()


def test_the_api_streams_what_the_model_writes(
    spec: LlmSpec, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From the passages found, which are the citations; the prompt fits the model."""
    backend = a_backend(a_living(tmp_path_factory.mktemp("living")))
    client = a_client(backend, answerer=Answerer(ChatStream(spec), 3000, spec))
    body = {"query": QUERY, "k": 3, "stream": True}
    with client.stream("POST", "/v1/answer", json=body) as response:
        events = list(EventSource(response).iter_sse())  # type: ignore[arg-type]
    assert [event.event for event in events[:2]] == ["search", "text"]
    end = AnswerEnd.model_validate_json(events[-1].data, strict=True)
    text = "".join(json.loads(event.data)["text"] for event in events if event.event == "text")
    assert end.answer == text
    assert text.isalpha()
    assert [citation.number for citation in end.citations] == [1, 2, 3]
    backend.close()


def test_a_model_that_the_server_has_not_is_refused(spec: LlmSpec) -> None:
    """Its own words are in the error."""

    async def ask() -> None:
        chat = ChatStream(LlmSpec(url=spec.url, model="another"))
        try:
            async for _ in chat.pieces(MESSAGES):
                pass
        finally:
            await chat.close()

    with pytest.raises(Exception, match="pinned") as caught:
        asyncio.run(ask())
    assert type(caught.value).__name__ == "LlmRefused"


def test_an_index_in_python_answers_in_words(
    spec: LlmSpec, minilm: EncoderSpec, tmp_path: Path
) -> None:
    """From a frame of polars, then brought up to date from a dataset of Hugging Face."""
    pl = pytest.importorskip("polars")
    datasets = pytest.importorskip("datasets")
    rows = [{"id": "a", "text": "A herding dog."}, {"id": "b", "text": "A giant star."}]
    settings: dict[str, Any] = {
        "encoder": {"model": minilm.model},
        "staging": {"uri": f"{tmp_path}/staging"},
        "milvus": {"uri": f"{tmp_path}/index.db"},
    }
    with Index.open(**settings, llm={"url": spec.url, "model": spec.model}) as index:
        assert index.ingest(pl.DataFrame(rows))["documents"] == 2
        more = datasets.Dataset.from_list([*rows, {"id": "c", "text": "A flute of reed."}])
        synced = index.sync(more)
        assert (synced["added"], synced["removed"]) == (1, 0)
        answer = index.answer("a flute of reed", k=2)
        assert answer.answer.isalpha()
        assert answer.citations[0].hit.document_id == "c"
        assert asyncio.run(index.aanswer("a flute of reed", k=2)).answer == answer.answer
    with Index.open(**settings) as silent, pytest.raises(ServiceProblem, match="no chat model"):
        silent.answer("a flute of reed")
