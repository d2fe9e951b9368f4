"""The service's endpoints as data: the request, and how to read the response. No transport.

`Client` and `AsyncClient` differ only in how they wait; they share everything here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from mrag_pipeline.client.filters import Where, wire_filter
from mrag_pipeline.client.problems import AnswerUnreadable, service_problem
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.wire.document_schemas import (
    DocumentList,
    DocumentPassages,
    PassageNeighbours,
)
from mrag_pipeline.wire.filters import Filter
from mrag_pipeline.wire.schema import Schema
from mrag_pipeline.wire.schemas import (
    AnswerBody,
    BatchAnswer,
    BatchBody,
    Chunk,
    IndexState,
    SearchAnswer,
    SearchBody,
    VoterShares,
    WordedAnswer,
)

READY = "/readyz"
# From the service, from a proxy without a service behind it, and from Ray Serve while it starts.
NOT_YET = (404, 502, 503, 504)

T = TypeVar("T", bound=BaseModel)
B = TypeVar("B", SearchBody, AnswerBody)


class SearchOptions(TypedDict, total=False):
    """Options of a search; the service has a default for each."""

    k: int  # documents to fetch
    strategy: str  # a name in IndexState.strategies
    filter: Where | Filter | Mapping[str, Any] | None
    tenant: str
    windows: Sequence[str]  # the pieces to search by, or a fusion strategy's sub-queries
    voters: Mapping[str, float] | VoterShares  # shares of heads, standard, lexical
    min_heads: int  # how many heads must answer in time; default: all
    min_score: float  # leave out hits whose cosine is lower
    rerank: bool  # whether the service's reranker orders the documents; default: if it has one
    explain: bool  # each hit's votes by voter and window
    timeout_s: float  # limit in the service; the client waits a little longer


class AnswerOptions(SearchOptions, total=False):
    """Options of an answer in words."""

    max_context_tokens: int


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and the model of its response."""

    method: str
    path: str
    answer: type[T]
    body: Schema | None = None
    timeout_s: float | None = None  # that the caller passed to the service

    def content(self) -> bytes | None:
        """The body as JSON, only with the options that were given."""
        if self.body is None:
            return None
        return self.body.model_dump_json(by_alias=True, exclude_unset=True).encode()

    def headers(self) -> dict[str, str]:
        """The request's headers."""
        return {"Content-Type": "application/json"} if self.body is not None else {}

    def read(self, response: httpx.Response) -> T:
        """The response as the call's model.

        Raises: ServiceProblem, AnswerUnreadable.
        """
        refuse(response)
        return read_as(self.answer, response.content, str(response.url))


def search(query: str, options: SearchOptions) -> Call[SearchAnswer]:
    """`POST /v1/search`."""
    body = _body(SearchBody, query, options)
    return Call("POST", "/v1/search", SearchAnswer, body, body.timeout_s)


def search_batch(searches: Sequence[str | SearchBody], options: SearchOptions) -> Call[BatchAnswer]:
    """`POST /v1/search/batch`; the options apply to searches given as text."""
    bodies = [
        search if isinstance(search, SearchBody) else _body(SearchBody, search, options)
        for search in searches
    ]
    try:
        body = BatchBody(searches=bodies)
    except ValidationError as error:
        raise _invalid(error) from None
    timeouts = [each.timeout_s for each in bodies if each.timeout_s is not None]
    return Call("POST", "/v1/search/batch", BatchAnswer, body, max(timeouts, default=None))


def index() -> Call[IndexState]:
    """`GET /v1/index`."""
    return Call("GET", "/v1/index", IndexState)


def chunk(chunk_id: str | int) -> Call[Chunk]:
    """`GET /v1/chunks/{id}`.

    Raises: ConfigError if it is not a chunk id, because it could become another path.
    """
    text = str(chunk_id).strip()
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise ConfigError(f"chunk_id = {chunk_id!r}", "a whole number: the chunk_id of a hit")
    return Call("GET", f"/v1/chunks/{text}", Chunk)


def documents(text: str, limit: int, tenant: str | None) -> Call[DocumentList]:
    """`GET /v1/documents`."""
    return Call("GET", _path("/v1/documents", text=text, limit=limit, tenant=tenant), DocumentList)


def document(
    document_id: str, offset: int, limit: int, tenant: str | None
) -> Call[DocumentPassages]:
    """`GET /v1/document`."""
    path = _path("/v1/document", id=document_id, offset=offset, limit=limit, tenant=tenant)
    return Call("GET", path, DocumentPassages)


def neighbours(chunk_id: str | int, k: int, tenant: str | None) -> Call[PassageNeighbours]:
    """`GET /v1/chunks/{id}/neighbours`; errors as `chunk`."""
    path = _path(f"{chunk(chunk_id).path}/neighbours", k=k, tenant=tenant)
    return Call("GET", path, PassageNeighbours)


def answer(query: str, options: AnswerOptions, stream: bool = False) -> Call[WordedAnswer]:
    """`POST /v1/answer`."""
    body = _body(AnswerBody, query, {**options, "stream": True} if stream else options)
    return Call("POST", "/v1/answer", WordedAnswer, body, body.timeout_s)


def _path(path: str, **parameters: str | int | None) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{httpx.QueryParams(given)}"


def is_ready(response: httpx.Response) -> bool:
    """Whether the response to `GET /readyz` says ready.

    Raises: ServiceProblem for a response other than ready or not yet ready.
    """
    if response.status_code in NOT_YET:
        return False
    refuse(response)
    return True


def refuse(response: httpx.Response) -> None:
    """Raises the problem of a response other than 2xx; read its content before.

    Raises: ServiceProblem.
    """
    if not response.is_success:
        raise service_problem(
            response.status_code, response.reason_phrase, response.content, response.headers
        )


def read_as(model: type[T], content: str | bytes, where: str) -> T:
    """The content as the model; ignores keys that a newer service adds.

    Raises: AnswerUnreadable.
    """
    try:
        return model.model_validate_json(content, extra="ignore")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise AnswerUnreadable(
            f"{where} did not return a {model.__name__}: {field} {first['msg']}".rstrip(),
            "a query service of a version that this client supports",
            "check the URL, and `mrag --version` on both sides",
        ) from None


def _body(kind: type[B], query: str, options: Mapping[str, Any]) -> B:
    values = {key: value for key, value in options.items() if value is not None}
    if "filter" in values:
        values["filter"] = wire_filter(values["filter"])
    if "windows" in values:
        values["windows"] = list(values["windows"])
    try:
        return kind(query=query, **values)
    except ValidationError as error:
        raise _invalid(error) from None


def _invalid(error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    shown = repr(first["input"])
    shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
    return ConfigError(f"{field} = {shown}", first["msg"], f"correct `{field}` in the call")
