"""The asyncio client: the methods of `Client` as coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx
from pydantic import BaseModel
from tenacity import AsyncRetrying

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


class AsyncClient:
    """Calls a query service from coroutines; arguments and errors are those of `Client`.

    Use it in one event loop. Close it, or use it in an `async with`.
    """

    def __init__(
        self,
        url: str = LOCAL,
        *,
        api_key: str | None = None,
        timeout_s: float = 100.0,
        attempts: int = 4,
        patience_s: float = 20.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._connection = Connection.of(url, api_key, timeout_s, attempts, patience_s)
        self._http = httpx.AsyncClient(
            base_url=self._connection.url,
            headers=self._connection.headers(),
            timeout=timeout_s,
            transport=transport,
            verify=self._connection.verify(),
        )

    def __repr__(self) -> str:
        return f"AsyncClient({self._connection.url!r})"

    @property
    def url(self) -> str:
        """Of the service, as every request uses it."""
        return self._connection.url

    async def search(self, query: str, **options: Unpack[SearchOptions]) -> SearchAnswer:
        """The documents that answer the query best, with their votes by window and head."""
        return await self._ask(calls.search(query, options))

    async def search_batch(
        self, searches: Sequence[str | SearchBody], **options: Unpack[SearchOptions]
    ) -> list[SearchAnswer]:
        """The answers in the order of the searches; all from one index version."""
        return (await self._ask(calls.search_batch(searches, options))).answers

    async def index(self) -> IndexState:
        """The live version: counts, heads, strategies."""
        return await self._ask(calls.index())

    async def chunk(self, chunk_id: str | int) -> Chunk:
        """A passage by its id."""
        return await self._ask(calls.chunk(chunk_id))

    async def documents(
        self, text: str = "", *, limit: int = 20, tenant: str | None = None
    ) -> list[DocumentSummary]:
        """Documents whose id or title begins with the text, then others that have it."""
        return (await self._ask(calls.documents(text, limit, tenant))).documents

    async def document(
        self, document_id: str, *, offset: int = 0, limit: int = 100, tenant: str | None = None
    ) -> DocumentPassages:
        """A document, with its passages from the offset on."""
        return await self._ask(calls.document(document_id, offset, limit, tenant))

    async def neighbours(
        self, chunk_id: str | int, *, k: int = 5, tenant: str | None = None
    ) -> PassageNeighbours:
        """The k other documents nearest to a passage, in each head and by the standard vector."""
        return await self._ask(calls.neighbours(chunk_id, k, tenant))

    async def answer(self, query: str, **options: Unpack[AnswerOptions]) -> WordedAnswer:
        """An answer in words with its sources; the service needs a chat model for it."""
        return await self._ask(calls.answer(query, options))

    async def stream_answer(
        self, query: str, **options: Unpack[AnswerOptions]
    ) -> AsyncIterator[AnswerEvent]:
        """A SearchAnswer, any number of TextPieces, then an AnswerEnd with the citations.

        The search is over before the first is yielded; a later failure is raised when it happens.
        """
        response = await self._open(calls.answer(query, options, stream=True))
        try:
            with self._connection.errors_translated():
                async for part in EventReader(response).aparts():
                    yield part
        finally:
            await response.aclose()

    async def ready(self) -> bool:
        """Whether questions are answered now; False if nothing listens. Makes one attempt."""
        try:
            with self._connection.errors_translated():
                return calls.is_ready(await self._http.get(calls.READY))
        except ServiceUnreachable:
            return False

    async def close(self) -> None:
        """Closes the connections; a second call does nothing."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ask(self, call: Call[T]) -> T:
        async for attempt in AsyncRetrying(**self._connection.retrying()):
            with attempt, self._connection.errors_translated():
                return call.read(await self._send(call))
        raise AssertionError

    async def _open(self, call: Call[T]) -> httpx.Response:
        async for attempt in AsyncRetrying(**self._connection.retrying()):
            with attempt, self._connection.errors_translated():
                response = await self._send(call, stream=True)
                if not response.is_success:
                    await response.aread()
                calls.refuse(response)
                return response
        raise AssertionError

    async def _send(self, call: Call[T], stream: bool = False) -> httpx.Response:
        request = self._http.build_request(
            call.method,
            call.path,
            content=call.content(),
            headers=call.headers(),
            timeout=self._connection.seconds(call.timeout_s),
        )
        return await self._http.send(request, stream=stream)
