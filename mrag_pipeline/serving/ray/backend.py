"""The API's backend over deployment handles: two calls a request, each tried again once if lost.

Both calls only read, so a replica that dies with a request costs its caller time, not an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ray.exceptions import (
    ObjectLostError,
    RayActorError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.errors import MragError, NotReady, Overloaded, WorkerLost
from mrag_pipeline.ports import ChunkRow
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.checks import check_query
from mrag_pipeline.query.question import EmbeddedQuery, Question
from mrag_pipeline.serving.backend import Ask, BackendState, out_of_time
from mrag_pipeline.serving.live_version import LiveState, not_its_encoder

# Of what is asked beside a search; a service whose parts take longer is not ready.
ASIDE_S = 5.0
LOST = (RayActorError, WorkerCrashedError, ObjectLostError, ReplicaUnavailableError)


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """One request's queries, and whose vectors they are."""

    queries: tuple[EmbeddedQuery, ...]
    mark: str  # live.mark_of the encoder


class RayBackend:
    """Asks the QueryEncoder and the HeadSearch deployments."""

    def __init__(self, encoder: DeploymentHandle, search: DeploymentHandle) -> None:
        self._encoder = encoder
        self._search = search

    async def answer(self, asks: Sequence[Ask], seconds: float) -> list[Answer]:
        """The answers, in the order of the asks, all from one version."""
        for ask in asks:  # before others' queries are in the same batch
            check_query(ask.asked)
        if not asks:
            return []
        until = time.monotonic() + seconds
        embed, search = self._encoder.embed, self._search.search
        asked = tuple(ask.asked for ask in asks)
        embedded: Embedded = await self._call(lambda _: embed.remote(asked), until, seconds)
        questions = tuple(
            Question(ask.asked, query, ask.k, ask.filter, ask.min_heads)
            for ask, query in zip(asks, embedded.queries, strict=True)
        )
        answers: list[Answer] = await self._call(
            lambda left: search.remote(questions, embedded.mark, left), until, seconds
        )
        return answers

    async def chunk(self, chunk_id: int, only: Filter | None = None) -> ChunkRow | None:
        """The live version's chunk, None if there is none or it is not `only`'s."""
        row: ChunkRow | None = await self._aside(
            lambda _: self._search.chunk.remote(chunk_id, only)
        )
        return row

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the encoder sees in each text."""
        counts: list[int] = await self._aside(
            lambda _: self._encoder.count_tokens.remote(list(texts))
        )
        return counts

    async def state(self) -> BackendState:
        """What is served at this moment."""
        try:
            told = await asyncio.gather(
                self._aside(lambda _: self._search.state.remote()),
                self._aside(lambda _: self._encoder.mark.remote()),
            )
        except MragError as error:
            return BackendState(None, False, error.found)
        live: LiveState = told[0]
        mark: str = told[1]
        if live.record is None:
            return BackendState(None, False, live.reason)
        if mark != live.mark:
            return BackendState(live.record, False, not_its_encoder(live.record).found)
        return BackendState(live.record, True)

    async def _aside(self, call: Callable[[float], Any]) -> Any:
        return await self._call(call, time.monotonic() + ASIDE_S, ASIDE_S)

    async def _call(self, call: Callable[[float], Any], until: float, seconds: float) -> Any:
        """What the call gives, asked once more if its replica was lost.

        Args:
            call: given the seconds that are left; gives a DeploymentResponse.
            until, seconds: the deadline, and what the caller gave.
        Raises: OutOfTime, Overloaded, NotReady, WorkerLost, and the error that the call gives.
        """
        try:
            given = await self._in_time(call, until, seconds)
        except LOST:
            try:
                given = await self._in_time(call, until, seconds)
            except LOST as error:
                raise WorkerLost(
                    f"a replica was lost, and then another: {type(error).__name__}",
                    "one that lives as long as a request",
                    "ask again; replicas are started anew by themselves",
                ) from None
        if isinstance(given, MragError):
            raise given
        return given

    async def _in_time(self, call: Callable[[float], Any], until: float, seconds: float) -> Any:
        left = until - time.monotonic()
        if left <= 0:
            raise out_of_time(seconds)
        response = call(left)
        try:
            async with asyncio.timeout(left):
                return await response
        except TimeoutError:
            response.cancel()
            raise out_of_time(seconds) from None
        except asyncio.CancelledError:
            response.cancel()  # the caller has left; a batch that holds it goes on
            raise
        except BackPressureError as error:
            raise Overloaded(
                str(error), "fewer requests at once", "ask again a little later"
            ) from None
        except DeploymentUnavailableError as error:
            raise NotReady(error.message, "deployments that start", "see `serve status`") from None
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, LOST):
                raise cause from None
            raise
        except TaskCancelledError:
            raise out_of_time(seconds) from None
