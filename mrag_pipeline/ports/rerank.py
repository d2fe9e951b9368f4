"""Passages scored by how well they answer a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query, and the passages to score for it."""

    query: str
    passages: tuple[str, ...]


class Reranker(Protocol):
    """A model that reads query and passage together. Threads may share it."""

    @property
    def name(self) -> str:
        """The model, as answers and reports name it."""

    def scores(
        self, requests: Sequence[RerankRequest], seconds: float
    ) -> list[NDArray[np.float64]]:
        """For each request (N,): how well each of its N passages answers its query.

        Higher is better. Scores of one request can be compared with each other; equal pairs of
        texts have equal scores, whatever else is scored with them.

        Args:
            seconds: for all requests together.
        Returns: finite numbers, in the order of requests and passages.
        Raises: OutOfTime; RerankerUnavailable (no answer), RerankerRefused (no usable answer).
        """

    def close(self) -> None:
        """Releases connections and threads."""
