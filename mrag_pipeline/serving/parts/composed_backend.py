"""A backend made of parts: encoder, search, perhaps a reranker; how one is called is left open.

`in_process.py` calls the parts directly, `ray/backend.py` over deployment handles.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.errors import MragError, OutOfTime
from mrag_pipeline.ports import ChunkRow
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.browse import Look
from mrag_pipeline.query.checks import check_query
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.query.rerank import as_voted, deepened, is_reranked
from mrag_pipeline.serving.backend import SILENT, Ask, BackendState, out_of_time
from mrag_pipeline.serving.live_version import LiveState, not_its_encoder
from mrag_pipeline.serving.parts.answer_reranker import Deepened
from mrag_pipeline.serving.parts.query_encoder import EmbeddedRequest
from mrag_pipeline.settings.rerank import RerankSpec
from mrag_pipeline.settings.retrieve import RetrieveSpec

T = TypeVar("T")

# The time limit of every call that is not a search; a service whose parts take longer is not ready.
SIDE_CALL_S = 5.0
RERANK_SHARE = 0.9  # of the time that is left after the search


class EncoderPart(Protocol):
    """`QueryEncoder`, or a handle to one. Errors that the caller is to see are returned."""

    def embed(
        self, queries: tuple[Query, ...], seconds: float, caller: str
    ) -> Awaitable[EmbeddedRequest | MragError]:
        """One request's queries, embedded."""

    def count_tokens(self, texts: Sequence[str]) -> Awaitable[list[int]]:
        """How many tokens the encoder sees in each text."""

    def mark(self) -> Awaitable[str]:
        """`live_version.mark_of` the encoder."""


class SearchPart(Protocol):
    """`HeadSearch`, or a handle to one. Errors that the caller is to see are returned."""

    def search(
        self, questions: tuple[Question, ...], mark: str, seconds: float, caller: str
    ) -> Awaitable[list[Answer] | MragError]:
        """One request's answers, all from the same version."""

    def chunk(self, chunk_id: int, only: Filter | None) -> Awaitable[ChunkRow | MragError | None]:
        """The version's chunk; None if there is none, or if `only` does not match it."""

    def browse(self, look: Look[T]) -> Awaitable[T | MragError]:
        """What the look finds in the version."""

    def state(self) -> Awaitable[LiveState]:
        """The version that is searched at this moment."""


class RerankPart(Protocol):
    """`AnswerReranker`, or a handle to one. Errors that the caller is to see are returned."""

    def rerank(
        self, answers: tuple[Deepened, ...], seconds: float
    ) -> Awaitable[list[Answer] | MragError]:
        """One request's answers in the reranker's order, each cut to its k."""


@dataclass(frozen=True, slots=True)
class RerankStep:
    """The reranker's part, and its settings."""

    part: RerankPart
    spec: RerankSpec


class ComposedBackend(ABC):
    """Answers a request with two calls: the encoder's `embed`, then the search's `search`.

    With a reranker there is a third: the answers that are to be reranked go to its `rerank`.
    """

    def __init__(
        self,
        encoder: EncoderPart,
        search: SearchPart,
        rerank: RerankStep | None = None,
        retrieve: RetrieveSpec | None = None,
    ) -> None:
        """Ready to answer.

        Args:
            retrieve: the settings that encoder and search have too.
        """
        self._encoder = encoder
        self._search = search
        self._rerank = rerank
        self._retrieve = retrieve or RetrieveSpec()

    async def answer(self, asks: Sequence[Ask], seconds: float) -> list[Answer]:
        """The answers, in the order of the asks, all from one version."""
        reranked = []
        for ask in asks:  # before others' queries are in the same batch
            check_query(ask.query, self._retrieve)
            reranked.append(is_reranked(ask.rerank, self._rerank is not None))
        if not asks:
            return []
        deadline = time.monotonic() + seconds
        queries = tuple(ask.query for ask in asks)
        caller = asks[0].caller
        embedded = await self._call(
            lambda seconds_left: self._encoder.embed(queries, seconds_left, caller),
            deadline,
            seconds,
        )
        questions = tuple(
            Question(
                ask.query,
                embedded_query,
                ask.k,
                filter=ask.filter,
                min_heads=ask.min_heads,
                visible=ask.visible,
                min_score=ask.min_score,
            )
            for ask, embedded_query in zip(asks, embedded.queries, strict=True)
        )
        if self._rerank is not None:
            questions = tuple(
                deepened(question, self._rerank.spec) if wanted else question
                for question, wanted in zip(questions, reranked, strict=True)
            )
        answers = await self._call(
            lambda seconds_left: self._search.search(
                questions, embedded.mark, seconds_left, caller
            ),
            deadline,
            seconds,
        )
        if self._rerank is not None and any(reranked):
            rows = [row for row, wanted in enumerate(reranked) if wanted]
            wanted = tuple(Deepened(answers[row], asks[row].k) for row in rows)
            ordered = await self._reranked(self._rerank, wanted, deadline)
            for row, answer in zip(rows, ordered, strict=True):
                answers[row] = answer
        return answers

    async def _reranked(
        self, step: RerankStep, answers: tuple[Deepened, ...], deadline: float
    ) -> list[Answer]:
        """The answers in the reranker's order; in the vote's if it fails, unless that is an error.

        The part has a share of the time that is left, so that there is some to answer without it.
        """
        seconds = RERANK_SHARE * max(0.0, deadline - time.monotonic())
        try:
            return await self._call(
                lambda seconds_left: step.part.rerank(answers, RERANK_SHARE * seconds_left),
                time.monotonic() + seconds,
                seconds,
            )
        except MragError as error:
            if step.spec.on_error == "fail":
                raise
            return [as_voted(deep.answer, deep.k, error) for deep in answers]

    async def chunk(self, chunk_id: int, only: Filter | None = None) -> ChunkRow | None:
        """The live version's chunk; None if there is none, or if `only` does not match it."""
        return await self._side_call(lambda: self._search.chunk(chunk_id, only))

    async def browse(self, look: Look[T]) -> T:
        """What the look finds in the live version."""
        return await self._side_call(lambda: self._search.browse(look))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the encoder sees in each text."""
        return await self._side_call(lambda: self._encoder.count_tokens(list(texts)))

    async def state(self) -> BackendState:
        """What is served at this moment."""
        try:
            live, mark = await asyncio.gather(
                self._side_call(self._search.state), self._side_call(self._encoder.mark)
            )
        except OutOfTime:
            return BackendState(None, False, SILENT)
        except MragError as error:
            return BackendState(None, False, error.found)
        if live.record is None:
            return BackendState(None, False, live.reason)
        if mark != live.mark:
            return BackendState(live.record, False, not_its_encoder(live.record).found)
        return BackendState(live.record, not live.reason, live.reason)

    async def _side_call(self, call: Callable[[], Awaitable[T | MragError]]) -> T:
        return await self._call(lambda _: call(), time.monotonic() + SIDE_CALL_S, SIDE_CALL_S)

    async def _call(
        self,
        call: Callable[[float], Awaitable[T | MragError]],
        deadline: float,
        seconds: float,
    ) -> T:
        """What the part returns; an error that it returns is raised."""
        outcome = await self._outcome(call, deadline, seconds)
        if isinstance(outcome, MragError):
            raise outcome
        return outcome

    @abstractmethod
    async def _outcome(
        self,
        call: Callable[[float], Awaitable[T | MragError]],
        deadline: float,
        seconds: float,
    ) -> T | MragError:
        """Calls a part, until the deadline.

        Args:
            call: takes the seconds that are left.
            deadline: on the monotonic clock.
            seconds: what the caller gave for all calls of the request; for the error.
        Raises: OutOfTime, Overloaded, NotReady, WorkerLost.
        """


def seconds_left(deadline: float, seconds: float) -> float:
    """The time until the deadline.

    Raises: OutOfTime if it has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise out_of_time(seconds)
    return left
