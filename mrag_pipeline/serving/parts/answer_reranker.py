"""Puts the documents of answers into the order of a reranker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import RerankRequest
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.rerank import Reranking

WARM_UP_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Deepened:
    """The answer of a deepened question, and how many of its documents are wanted."""

    answer: Answer
    k: int


class AnswerReranker:
    """The part of the service that holds the reranker. Used from one event loop at a time.

    Questions are not batched: one fills a forward pass. They wait for a thread.
    """

    def __init__(self, reranking: Reranking, num_threads: int = 1) -> None:
        """Ready to rerank; the reranker stays the caller's to close.

        Args:
            num_threads: requests that are worked on at the same time.
        """
        self._reranking = reranking
        self._threads = ThreadPoolExecutor(num_threads, "rerank")

    def warm_up(self) -> None:
        """Scores a passage, so that the first caller does not wait for lazy initialisation."""
        self._reranking.reranker.scores([RerankRequest("warm up", ("warm up",))], WARM_UP_S)

    async def rerank(
        self, answers: tuple[Deepened, ...], seconds: float
    ) -> list[Answer] | MragError:
        """One request's answers, each cut to its k; errors as `Reranking.rerank`.

        Args:
            seconds: for all of them, waiting included.
        """
        deadline = time.monotonic() + seconds
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._rerank, answers, deadline)

    def close(self) -> None:
        """Stops the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _rerank(self, answers: Sequence[Deepened], deadline: float) -> list[Answer] | MragError:
        try:
            return [
                self._reranking.rerank(
                    deepened.answer, deepened.k, max(0.0, deadline - time.monotonic())
                )
                for deepened in answers
            ]
        except MragError as error:
            return error
