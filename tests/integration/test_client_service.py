"""Both clients against the real API, in one process: what one sends the other understands."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from mrag_pipeline.client import (
    AnswerEnd,
    AsyncClient,
    Client,
    SearchAnswer,
    ServiceBusy,
    ServiceRefused,
    TextPiece,
    field,
)
from mrag_pipeline.errors import LlmUnavailable
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.security.guard import KeyGuard
from mrag_pipeline.serving.security.keys import Keys, new_key
from mrag_pipeline.serving.unguarded import NoObserver, OpenGuard
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.living_index import Living, a_document

DOCS = Path(__file__).parents[2] / "docs" / "client.md"
WORDS = "A saying of [1]."


class Parrot:
    """A chat model that always says the same, piece by piece."""

    model = "parrot"
    timeout_s = 10.0

    def __init__(self, breaks: bool = False) -> None:
        self._breaks = breaks

    async def pieces(
        self, messages: Sequence[Mapping[str, str]], seconds: float | None = None
    ) -> AsyncIterator[str]:
        for word in WORDS.split(" ", 1):
            yield word
        if self._breaks:
            raise LlmUnavailable("the parrot is gone")

    async def close(self) -> None:
        """Nothing to let go of."""


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Living:
    made = Living(tmp_path_factory.mktemp("staging"), [a_document(n) for n in range(6)])
    made.ingest()
    return made


def an_api(living: Living, chat: Parrot | None = None, guard: Any = None) -> FastAPI:
    encoder = FakeEncoder(num_heads=living.num_heads)
    backend = InProcessBackend(encoder, FakeSegmenter(ChunkingSpec(max_tokens=8)), living.index)
    answerer = None if chat is None else Answerer(chat, 3000)
    return create_api(backend, ServeSpec(), guard or OpenGuard(), NoObserver(), answerer)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the API does not come up"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(living: Living) -> Iterator[str]:
    with served(an_api(living, Parrot())) as url:
        yield url


def test_every_endpoint_answers_the_client_that_waits(url: str) -> None:
    """Typed answers from each, over a real connection."""
    with Client(url) as service:
        assert service.ready()
        state = service.index()
        assert state.num_documents == 6
        answer = service.search("river bakery", k=3, explain=True)
        assert answer.version == state.version
        assert len(answer.hits) == 3
        assert answer.hits[0].votes is not None
        chunk = service.chunk(answer.hits[0].chunk_id)
        assert chunk.model_dump() == {
            key: getattr(answer.hits[0], key) for key in type(chunk).model_fields
        }
        first, *others = service.documents("d", limit=4)
        assert len(others) == 3
        document = service.document(first.document_id)
        assert document.title == first.title
        near = service.neighbours(document.passages[0].chunk_id, k=2)
        assert [row.voter for row in near.voters][:-1] == [head.name for head in state.heads]
        batch = service.search_batch(["river bakery", "violin"], k=3, explain=True)
        assert [hit.document_id for hit in batch[0].hits] == [
            hit.document_id for hit in answer.hits
        ]
        worded = service.answer("river bakery")
        assert worded.answer == WORDS.replace(" ", "", 1)
        assert worded.citations[0].number == 1
        parts = list(service.stream_answer("river bakery"))
        assert isinstance(parts[0], SearchAnswer)
        assert isinstance(parts[-1], AnswerEnd)
        assert "".join(p.text for p in parts if isinstance(p, TextPiece)) == worded.answer


def test_every_endpoint_answers_asyncio_s_client(living: Living) -> None:
    """The same, without a network: httpx's ASGI transport."""

    async def ask() -> None:
        transport = httpx.ASGITransport(an_api(living, Parrot()))
        async with AsyncClient("http://testserver", transport=transport) as service:
            assert await service.ready()
            assert (await service.index()).num_documents == 6
            answer = await service.search("river bakery", k=3)
            assert len(answer.hits) == 3
            chunk_id = answer.hits[0].chunk_id
            assert (await service.chunk(int(chunk_id))).chunk_id == chunk_id
            assert len(await service.documents(limit=4)) == 4
            document = await service.document(answer.hits[0].document_id, limit=1)
            assert len(document.passages) == 1
            assert (await service.neighbours(chunk_id)).chunk_id == chunk_id
            assert len(await service.search_batch(["river", "violin"])) == 2
            assert (await service.answer("river bakery")).model == "parrot"
            parts = [part async for part in service.stream_answer("river bakery")]
            assert isinstance(parts[-1], AnswerEnd)

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (field("metadata.n") >= 3, {"d3", "d4", "d5"}),
        ((field("metadata.n") < 2) | (field("document_id") == "d5"), {"d0", "d1", "d5"}),
        (~field("title").starts_with("Title") | (field("title") == "Title 4"), {"d4"}),
        (field("metadata.n").is_in([1, 2]) & (field("metadata.n") != 1), {"d2"}),
        (field("metadata.gone").exists() | (field("metadata.gone") != 1), set()),
        (field("title") == 'x" or 1 == 1 or title == "', set()),
    ],
)
def test_filters_mean_on_the_service_what_they_say_in_python(
    url: str, where: Any, found: set[str]
) -> None:
    """Each operator, joined and negated."""
    with Client(url) as service:
        hits = service.search("river bakery violin", k=10, filter=where).hits
    assert {hit.document_id for hit in hits} == found


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (lambda service: service.chunk(1), 404),
        (lambda service: service.search("bees", strategy="aspects"), 422),
        (lambda service: service.search("bees", k=1000), 422),
        (lambda service: service.search(" "), 422),
    ],
)
def test_a_refusal_of_the_service_arrives_whole(url: str, ask: Any, status: int) -> None:
    """With its title, its detail and what to do."""
    with Client(url) as service, pytest.raises(ServiceRefused) as found:
        ask(service)
    assert found.value.status == status
    assert found.value.title
    assert found.value.detail


def test_a_service_without_a_model_says_so(living: Living) -> None:
    """501 to a stream too."""
    with (
        served(an_api(living)) as url,
        Client(url) as service,
        pytest.raises(ServiceRefused, match="501"),
    ):
        next(service.stream_answer("bees"))


def test_a_model_that_breaks_off_is_an_error(living: Living) -> None:
    """The words that came are given, and then what went wrong."""
    with served(an_api(living, Parrot(breaks=True))) as url, Client(url) as service:
        parts = service.stream_answer("bees")
        assert isinstance(next(parts), SearchAnswer)
        assert isinstance(next(parts), TextPiece)
        with pytest.raises(ServiceBusy, match="502"):
            list(parts)


def test_a_key_opens_the_door(living: Living) -> None:
    """The service's own guard knows the key that the client sends."""
    secret, key = new_key("me")
    with served(an_api(living, guard=KeyGuard(ServeSpec(), Keys([key])))) as url:
        with Client(url, api_key=secret) as service:
            assert service.search("bees").hits
        with Client(url, api_key="") as service, pytest.raises(ServiceRefused, match="401"):
            service.search("bees")


@pytest.mark.parametrize("at", range(6))
def test_the_examples_of_the_docs_run(url: str, at: int, capsys: Any) -> None:
    """Each as it is printed, on a service of this test."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 6
    exec(compile(blocks[at].replace("http://127.0.0.1:8000", url), f"{DOCS}:{at}", "exec"), {})
    assert capsys.readouterr().out.strip()
