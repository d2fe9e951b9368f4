"""A whole query service in process, without Ray or a model: exact search over words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.query.rerank import Reranking
from mrag_pipeline.serving.answering import Answerer
from mrag_pipeline.serving.backend import Backend
from mrag_pipeline.serving.http.api import create_api
from mrag_pipeline.serving.http.api_ports import Guard, Observer
from mrag_pipeline.serving.in_process import InProcessBackend
from mrag_pipeline.serving.unguarded import AnyCaller, NoObserver, OpenGuard
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.living_index import Living

TEXTS = {
    "dog": ("a shaggy herding dog of the hills guards sheep by night", "acme", 2001),
    "star": ("a cool giant star rich in carbon", "acme", 2010),
    "cake": ("layered butter cake from brittany", "umbrella", 2015),
    "sword": ("a curved sword of hammered steel", "umbrella", 2020),
    "reed": ("a small flute cut from river reed", "", 2024),
}
QUERY = "a shaggy herding dog of the hills. a cool giant star rich in carbon."
TENANTS = ServeSpec(tenant_field="owner.name")


def documents() -> list[Document]:
    """Five documents: two of each tenant, one without a tenant."""
    return [
        Document(
            name,
            text,
            title=name.title(),
            metadata={"year": year} | ({"owner": {"name": owner}} if owner else {}),
            source=f"toy:{name}",
        )
        for name, (text, owner, year) in TEXTS.items()
    ]


def a_living(folder: Path) -> Living:
    """The documents as a live version of an exact index."""
    living = Living(folder, documents())
    living.ingest()
    return living


def a_backend(
    living: Living,
    spec: ServeSpec | None = None,
    reranking: Reranking | None = None,
    retrieve: RetrieveSpec | None = None,
) -> InProcessBackend:
    """Answers from the living index's live version."""
    encoder = FakeEncoder(num_heads=living.num_heads)
    return InProcessBackend(
        encoder, FakeSegmenter(), living.index, spec, retrieve, reranking=reranking
    )


def a_client(
    backend: Backend,
    spec: ServeSpec | None = None,
    guard: Guard | None = None,
    observer: Observer | None = None,
    answerer: Answerer | None = None,
    retrieve: RetrieveSpec | None = None,
) -> TestClient:
    """A client of a service over the backend; errors become responses, as over a network."""
    app = create_api(
        backend,
        spec or ServeSpec(),
        guard or OpenGuard(),
        observer or NoObserver(),
        answerer,
        retrieve,
    )
    return TestClient(app, raise_server_exceptions=False)


class Bound(OpenGuard):
    """A guard whose only key is bound to a tenant."""

    def __init__(self, tenant: str | None) -> None:
        self._caller = AnyCaller("key", tenant)

    def __call__(self) -> Any:
        return self._caller


class Parrot:
    """A chat model that returns the number of messages, and counts its calls."""

    model = "parrot"
    timeout_s = 1.0

    def __init__(self) -> None:
        self.num_calls = 0

    async def pieces(
        self, messages: Sequence[Mapping[str, str]], seconds: float | None = None
    ) -> AsyncIterator[str]:
        self.num_calls += 1
        yield f"{len(messages)} "
        yield "messages"

    async def close(self) -> None:
        """Nothing to close."""


def found(answer: dict[str, Any]) -> list[str]:
    """The documents of a search's answer, best first."""
    return [hit["document_id"] for hit in answer["hits"]]
