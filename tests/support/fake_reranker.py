"""A reranker with no model: the share of the query's words that a passage has, and of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.errors import MragError
from mrag_pipeline.ports import RerankRequest
from tests.support.fake_encoder import words_of


def relevance(query: str, passage: str) -> float:
    """From 0 to 1: a passage with all of the query's words, and few others, is best."""
    wanted, has = set(words_of(query)), set(words_of(passage))
    shared = len(wanted & has)
    return (shared / max(1, len(wanted)) + 0.1 * shared / max(1, len(has))) / 1.1


class FakeReranker:
    """Deterministic; remembers what it was asked, and fails if it is told to."""

    name = "fake-reranker"

    def __init__(self, error: MragError | None = None) -> None:
        self.asked: list[RerankRequest] = []
        self.closed = False
        self._error = error

    def scores(
        self, requests: Sequence[RerankRequest], seconds: float
    ) -> list[NDArray[np.float64]]:
        self.asked += requests
        if self._error is not None:
            raise self._error
        return [
            np.array([relevance(request.query, text) for text in request.passages], np.float64)
            for request in requests
        ]

    def close(self) -> None:
        self.closed = True

    def pairs(self) -> list[tuple[str, str]]:
        """Every query and passage that was scored, in order."""
        return [(request.query, text) for request in self.asked for text in request.passages]
