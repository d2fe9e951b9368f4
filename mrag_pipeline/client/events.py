"""A streamed answer's events, as they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from mrag_pipeline.client.calls import read_as
from mrag_pipeline.client.problems import AnswerUnreadable, ServiceUnreachable, service_problem
from mrag_pipeline.wire.schemas import AnswerEnd, Problem, SearchAnswer, TextPiece

AnswerEvent = SearchAnswer | TextPiece | AnswerEnd


class Reading:
    """Turns one response's events into answers' parts and knows whether the last one came."""

    def __init__(self, response: httpx.Response) -> None:
        self._source = EventSource(response)
        self._url = str(response.url)
        self._ended = False

    def parts(self) -> Iterator[AnswerEvent]:
        """What was found, then the words, then the end.

        Raises: ServiceProblem for an error event; AnswerUnreadable; ServiceUnreachable if the
            stream ends before the answer does.
        """
        try:
            for event in self._source.iter_sse():
                yield from self._part(event)
        except SSEError as error:
            raise self._unreadable(error) from None
        self._check_end()

    async def aparts(self) -> AsyncIterator[AnswerEvent]:
        """As `parts`."""
        try:
            async for event in self._source.aiter_sse():
                for part in self._part(event):
                    yield part
        except SSEError as error:
            raise self._unreadable(error) from None
        self._check_end()

    def _part(self, event: ServerSentEvent) -> Iterator[AnswerEvent]:
        """None for an event that a newer service adds."""
        if event.event == "search":
            yield read_as(SearchAnswer, event.data, self._url)
        elif event.event == "text":
            yield read_as(TextPiece, event.data, self._url)
        elif event.event == "done":
            self._ended = True
            yield read_as(AnswerEnd, event.data, self._url)
        elif event.event == "error":
            told = read_as(Problem, event.data, self._url)
            raise service_problem(told.status, told.title, event.data.encode())

    def _check_end(self) -> None:
        if not self._ended:
            raise ServiceUnreachable(
                f"{self._url} stopped in the middle of an answer", "its end", "ask again"
            )

    def _unreadable(self, error: SSEError) -> AnswerUnreadable:
        return AnswerUnreadable(
            f"{self._url} does not stream: {error}", "server-sent events", "check the URL"
        )
