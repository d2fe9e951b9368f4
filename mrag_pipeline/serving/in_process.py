"""The backend in one process: the parts that Serve's replicas are made of, called directly.

For `mrag serve` on one machine, for `Index`, and for tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mrag_pipeline.errors import MragError, Overloaded
from mrag_pipeline.ports import Encoder, Segmenter, ServedIndex
from mrag_pipeline.query.rerank import Reranking
from mrag_pipeline.serving.backend import out_of_time
from mrag_pipeline.serving.parts.answer_reranker import AnswerReranker
from mrag_pipeline.serving.parts.composed_backend import (
    ComposedBackend,
    RerankStep,
    seconds_left,
)
from mrag_pipeline.serving.parts.head_search import HeadSearch
from mrag_pipeline.serving.parts.query_encoder import QueryEncoder
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.settings.serve import ServeSpec

T = TypeVar("T")


class InProcessBackend(ComposedBackend):
    """Answers in this process, within the limits of one replica of each part."""

    def __init__(
        self,
        encoder: Encoder,
        segmenter: Segmenter,
        index: ServedIndex,
        spec: ServeSpec | None = None,
        retrieve: RetrieveSpec | None = None,
        reranking: Reranking | None = None,
        before_batch: Callable[[int], None] | None = None,
    ) -> None:
        """Ready to answer; encoder, index and reranker stay the caller's to close.

        Args:
            before_batch: as in QueryEncoder.
        """
        spec = spec or ServeSpec()
        self._query_encoder = QueryEncoder(encoder, segmenter, spec, retrieve, before_batch)
        self._head_search = HeadSearch(index, spec, retrieve)
        self._reranker = None if reranking is None else AnswerReranker(reranking)
        step = None
        if reranking is not None and self._reranker is not None:
            step = RerankStep(self._reranker, reranking.spec)
        super().__init__(self._query_encoder, self._head_search, step, retrieve)
        self._max_calls = spec.max_ongoing + spec.max_queued
        self._num_calls = 0

    def warm_up(self) -> None:
        """Embeds and searches once, so that no caller waits for lazy initialisation."""
        self._query_encoder.warm_up()
        self._head_search.warm_up()

    def close(self) -> None:
        """Stops the parts' threads."""
        self._query_encoder.close()
        self._head_search.close()
        if self._reranker is not None:
            self._reranker.close()

    async def _outcome(
        self,
        call: Callable[[float], Awaitable[T | MragError]],
        deadline: float,
        seconds: float,
    ) -> T | MragError:
        left = seconds_left(deadline, seconds)
        if self._num_calls >= self._max_calls:
            raise Overloaded(
                f"{self._num_calls} calls are under way or waiting",
                "fewer requests at once",
                "ask again a little later",
            )
        self._num_calls += 1
        try:
            async with asyncio.timeout(left):
                return await call(left)
        except TimeoutError:
            raise out_of_time(seconds) from None
        finally:
            self._num_calls -= 1
