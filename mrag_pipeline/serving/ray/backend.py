"""The backend over deployment handles: each call is made once more if its replica is lost.

All calls only read, so a replica that dies with a request costs its caller time, not an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

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
from mrag_pipeline.query.browse import Look
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.serving.backend import out_of_time
from mrag_pipeline.serving.live_version import LiveState
from mrag_pipeline.serving.parts.answer_reranker import Deepened
from mrag_pipeline.serving.parts.composed_backend import (
    ComposedBackend,
    RerankStep,
    seconds_left,
)
from mrag_pipeline.serving.parts.query_encoder import EmbeddedRequest
from mrag_pipeline.settings.rerank import RerankSpec
from mrag_pipeline.settings.retrieve import RetrieveSpec

T = TypeVar("T")

LOST = (RayActorError, WorkerCrashedError, ObjectLostError, ReplicaUnavailableError)


class RayBackend(ComposedBackend):
    """Calls the QueryEncoder and HeadSearch deployments, and Reranker where there is one."""

    def __init__(
        self,
        encoder: DeploymentHandle,
        search: DeploymentHandle,
        reranker: DeploymentHandle | None = None,
        rerank: RerankSpec | None = None,
        retrieve: RetrieveSpec | None = None,
    ) -> None:
        """Ready to answer.

        Args:
            rerank: the settings of the reranker, if there is one.
            retrieve: the settings that encoder and search have too.
        """
        step = None
        if reranker is not None:
            step = RerankStep(RerankHandle(reranker), rerank or RerankSpec())
        super().__init__(EncoderHandle(encoder), SearchHandle(search), step, retrieve)

    async def _outcome(
        self,
        call: Callable[[float], Awaitable[T | MragError]],
        deadline: float,
        seconds: float,
    ) -> T | MragError:
        try:
            return await self._attempt(call, deadline, seconds)
        except LOST:
            try:
                return await self._attempt(call, deadline, seconds)
            except LOST as error:
                raise WorkerLost(
                    f"a replica was lost, and then another: {type(error).__name__}",
                    "a replica that outlives the request",
                    "ask again; lost replicas are replaced automatically",
                ) from None

    async def _attempt(
        self,
        call: Callable[[float], Awaitable[T | MragError]],
        deadline: float,
        seconds: float,
    ) -> T | MragError:
        left = seconds_left(deadline, seconds)
        response: Any = call(left)  # a DeploymentResponse
        try:
            async with asyncio.timeout(left):
                outcome: T | MragError = await response
                return outcome
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


class EncoderHandle:
    """The QueryEncoder deployment as an EncoderPart."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    def embed(
        self, queries: tuple[Query, ...], seconds: float, caller: str
    ) -> Awaitable[EmbeddedRequest | MragError]:
        """One request's queries, embedded."""
        return _awaitable(self._handle.embed.remote(queries, seconds, caller))

    def count_tokens(self, texts: Sequence[str]) -> Awaitable[list[int]]:
        """How many tokens the encoder sees in each text."""
        return _awaitable(self._handle.count_tokens.remote(texts))

    def mark(self) -> Awaitable[str]:
        """`live_version.mark_of` the encoder."""
        return _awaitable(self._handle.mark.remote())


class SearchHandle:
    """The HeadSearch deployment as a SearchPart."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    def search(
        self, questions: tuple[Question, ...], mark: str, seconds: float, caller: str
    ) -> Awaitable[list[Answer] | MragError]:
        """One request's answers, all from the same version."""
        return _awaitable(self._handle.search.remote(questions, mark, seconds, caller))

    def chunk(self, chunk_id: int, only: Filter | None) -> Awaitable[ChunkRow | MragError | None]:
        """The version's chunk; None if there is none, or if `only` does not match it."""
        return _awaitable(self._handle.chunk.remote(chunk_id, only))

    def browse(self, look: Look[T]) -> Awaitable[T | MragError]:
        """What the look finds in the version."""
        return _awaitable(self._handle.browse.remote(look))

    def state(self) -> Awaitable[LiveState]:
        """The version that is searched at this moment."""
        return _awaitable(self._handle.state.remote())


class RerankHandle:
    """The Reranker deployment as a RerankPart."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    def rerank(
        self, answers: tuple[Deepened, ...], seconds: float
    ) -> Awaitable[list[Answer] | MragError]:
        """One request's answers in the reranker's order, each cut to its k."""
        return _awaitable(self._handle.rerank.remote(answers, seconds))


def _awaitable(response: Any) -> Awaitable[Any]:
    """A DeploymentResponse by the type of what it gives."""
    return response  # type: ignore[no-any-return]
