"""Rerankers for an evaluation: one measures what scoring costs, one scores each pair only once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.evaluation import RerankCost
from mrag_pipeline.ports import Reranker, RerankRequest


class RerankMeter:
    """A `Reranker` that measures another's time; one call at a time, so that none waits in it."""

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._num_scored = 0
        self._num_pairs: Counter[str] = Counter()
        self._num_queries: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """The model."""
        return self._reranker.name

    def scores(
        self, requests: Sequence[RerankRequest], seconds: float
    ) -> list[NDArray[np.float64]]:
        """As the reranker's."""
        with self._lock:
            started = time.perf_counter()
            scores = self._reranker.scores(requests, seconds)
            self._seconds += time.perf_counter() - started
            self._num_scored += sum(len(request.passages) for request in requests)
        return scores

    def close(self) -> None:
        """The reranker stays its owner's to close."""

    def count(self, strategy: str, num_pairs: int) -> None:
        """Notes how many pairs one query by a strategy needs, scored before or not."""
        with self._lock:
            self._num_pairs[strategy] += num_pairs
            self._num_queries[strategy] += 1

    def costs(self) -> dict[str, RerankCost]:
        """By strategy, in the order of their first queries."""
        ms_per_pair = 1000 * self._seconds / max(1, self._num_scored)
        costs = {}
        for strategy, num_queries in self._num_queries.items():
            pairs = self._num_pairs[strategy] / num_queries
            costs[strategy] = RerankCost(round(pairs, 1), round(pairs * ms_per_pair, 1))
        return costs


class SharedReranker:
    """A `Reranker` that scores a pair only once until `forget` is called."""

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        self._known: dict[tuple[str, str], float] = {}
        self.num_pairs = 0  # asked for so far

    @property
    def name(self) -> str:
        """The model."""
        return self._reranker.name

    def scores(
        self, requests: Sequence[RerankRequest], seconds: float
    ) -> list[NDArray[np.float64]]:
        """The scores, of which only those that are not known are asked for."""
        self.num_pairs += sum(len(request.passages) for request in requests)
        new = []
        for request in requests:
            passages = [
                text
                for text in dict.fromkeys(request.passages)
                if (request.query, text) not in self._known
            ]
            if passages:
                new.append(RerankRequest(request.query, tuple(passages)))
        if new:
            for request, scores in zip(new, self._reranker.scores(new, seconds), strict=True):
                for text, score in zip(request.passages, scores.tolist(), strict=True):
                    self._known[request.query, text] = score
        return [
            np.array([self._known[request.query, text] for text in request.passages], np.float64)
            for request in requests
        ]

    def close(self) -> None:
        """The reranker stays its owner's to close."""

    def forget(self) -> None:
        """Drops everything that was kept."""
        self._known.clear()
