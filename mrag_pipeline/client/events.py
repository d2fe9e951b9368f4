"""Reads the events of a streamed answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from mrag_pipeline.client.calls import read_as
from mrag_pipeline.client.problems import AnswerUnreadable, ServiceUnreachable, service_problem
from mrag_pipeline.wire.schemas import AnswerEnd, Problem, SearchAnswer, TextPiece

AnswerEvent = SearchAnswer | TextPiece | AnswerEnd


class EventReader:
    """Turns a response's events into the answer's parts, and checks that the last one came."""

    def __init__(self, response: httpx.Response) -> None:
        self._source = EventSource(response)
        self._url = str(response.url)
        self._ended = False

    def parts(self) -> Iterator[AnswerEvent]:
        """The search's result, then the text, then the end.

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
        """The event's part; none for an event type that a newer service adds."""
        if event.event == "search":
            yield read_as(SearchAnswer, event.data, self._url)
        elif event.event == "text":
            yield read_as(TextPiece, event.data, self._url)
        elif event.event == "done":
            self._ended = True
            yield read_as(AnswerEnd, event.data, self._url)
        elif event.event == "error":
            problem = read_as(Problem, event.data, self._url)
            raise service_problem(problem.status, problem.title, event.data.encode())

    def _check_end(self) -> None:
        if not self._ended:
            raise ServiceUnreachable(
                f"{self._url} stopped in the middle of an answer", "a complete answer", "retry"
            )

    def _unreadable(self, error: SSEError) -> AnswerUnreadable:
        return AnswerUnreadable(
            f"{self._url} does not stream: {error}", "server-sent events", "check the URL"
        )
