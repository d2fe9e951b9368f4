"""The blocking client: a method for each endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx
from pydantic import BaseModel
from tenacity import Retrying

from mrag_pipeline.client import calls
from mrag_pipeline.client.calls import AnswerOptions, Call, SearchOptions
from mrag_pipeline.client.connection import LOCAL, Connection
from mrag_pipeline.client.events import AnswerEvent, EventReader
from mrag_pipeline.client.problems import ServiceUnreachable
from mrag_pipeline.wire.document_schemas import (
    DocumentPassages,
    DocumentSummary,
    PassageNeighbours,
)
from mrag_pipeline.wire.schemas import (
    Chunk,
    IndexState,
    SearchAnswer,
    SearchBody,
    WordedAnswer,
)

T = TypeVar("T", bound=BaseModel)


class Client:
    """Calls a query service; safe to share between threads. Close it, or use it in a `with`.

    Args:
        url: of the service, up to `/v1`.
        api_key: None reads MRAG_API_KEY; "" sends none.
        timeout_s: for one answer, unless the call passes the service its own. The service's
            default limits are shorter: 30 s for a search, 60 more for words.
        attempts: of one call, including the first; retries only 429, 503 and connections that
            could not be made.
        patience_s: no attempt starts later than this after the first.
        transport: httpx's, replaces the network.
    Raises: ConfigError. Every call may raise ServiceProblem (ServiceRefused, ServiceBusy),
        ServiceUnreachable, AnswerUnreadable, and ConfigError for invalid arguments.
    """

    def __init__(
        self,
        url: str = LOCAL,
        *,
        api_key: str | None = None,
        timeout_s: float = 100.0,
        attempts: int = 4,
        patience_s: float = 20.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._connection = Connection.of(url, api_key, timeout_s, attempts, patience_s)
        self._http = httpx.Client(
            base_url=self._connection.url,
            headers=self._connection.headers(),
            timeout=timeout_s,
            transport=transport,
            verify=self._connection.verify(),
        )

    def __repr__(self) -> str:
        return f"Client({self._connection.url!r})"

    @property
    def url(self) -> str:
        """Of the service, as every request uses it."""
        return self._connection.url

    def search(self, query: str, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """The documents that answer the query best, with their votes by window and head."""
        return self._ask(calls.search(query, options))

    def search_batch(
        self, searches: Sequence[str | SearchBody], **options: Unpack[SearchOptions]
    ) -> list[SearchAnswer]:
        """The answers in the order of the searches; all from one index version."""
        return self._ask(calls.search_batch(searches, options)).answers

    def index(self) -> IndexState:
        """The live version: counts, heads, strategies."""
        return self._ask(calls.index())

    def chunk(self, chunk_id: str | int) -> Chunk:
        """A passage by its id."""
        return self._ask(calls.chunk(chunk_id))

    def documents(
        self, text: str = "", *, limit: int = 20, tenant: str | None = None
    ) -> list[DocumentSummary]:
        """Documents whose id or title begins with the text, then others that have it."""
        return self._ask(calls.documents(text, limit, tenant)).documents

    def document(
        self, document_id: str, *, offset: int = 0, limit: int = 100, tenant: str | None = None
    ) -> DocumentPassages:
        """A document, with its passages from the offset on."""
        return self._ask(calls.document(document_id, offset, limit, tenant))

    def neighbours(
        self, chunk_id: str | int, *, k: int = 5, tenant: str | None = None
    ) -> PassageNeighbours:
        """The k other documents nearest to a passage, in each head and by the standard vector."""
        return self._ask(calls.neighbours(chunk_id, k, tenant))

    def answer(self, query: str, **options: Unpack[AnswerOptions]) -> WordedAnswer:
        """An answer in words with its sources; the service needs a chat model for it."""
        return self._ask(calls.answer(query, options))

    def stream_answer(self, query: str, **options: Unpack[AnswerOptions]) -> Iterator[AnswerEvent]:
        """A SearchAnswer, any number of TextPieces, then an AnswerEnd with the citations.

        The search is over before the first is yielded; a later failure is raised when it happens.
        """
        response = self._open(calls.answer(query, options, stream=True))
        try:
            with self._connection.errors_translated():
                yield from EventReader(response).parts()
        finally:
            response.close()

    def ready(self) -> bool:
        """Whether questions are answered now; False if nothing listens. Makes one attempt."""
        try:
            with self._connection.errors_translated():
                return calls.is_ready(self._http.get(calls.READY))
        except ServiceUnreachable:
            return False

    def close(self) -> None:
        """Closes the connections; a second call does nothing."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, call: Call[T]) -> T:
        for attempt in Retrying(**self._connection.retrying()):
            with attempt, self._connection.errors_translated():
                return call.read(self._send(call))
        raise AssertionError

    def _open(self, call: Call[T]) -> httpx.Response:
        for attempt in Retrying(**self._connection.retrying()):
            with attempt, self._connection.errors_translated():
                response = self._send(call, stream=True)
                if not response.is_success:
                    response.read()
                calls.refuse(response)
                return response
        raise AssertionError

    def _send(self, call: Call[T], stream: bool = False) -> httpx.Response:
        request = self._http.build_request(
            call.method,
            call.path,
            content=call.content(),
            headers=call.headers(),
            timeout=self._connection.seconds(call.timeout_s),
        )
        return self._http.send(request, stream=stream)
