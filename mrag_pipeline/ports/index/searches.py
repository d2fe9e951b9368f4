"""Nearest-neighbour searches.

Shape legend: W queries, c hits per ranking, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.ports.index.capabilities import HasCapabilities


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """W queries to one collection."""

    collection: str
    vectors: NDArray[np.float32]  # (W, D)
    limit: int  # c
    among: NDArray[np.int64] | None = None  # only these ids; None: all


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Ordered hits of W queries; fewer hits than c are padded with id -1 and score -inf."""

    ids: NDArray[np.int64]  # (W, c)
    scores: NDArray[np.float32]  # (W, c), cosine similarity, falling


class Searches(HasCapabilities, Protocol):
    """Searches of an index's collections.

    The two searches raise IndexBusy (another process owns the index) or IndexUnavailable when
    they cannot answer.
    """

    def search(self, requests: Sequence[SearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests; run at the same time where that helps."""

    def search_within(
        self, requests: Sequence[SearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """As `search`; None for a request that fails or is not answered in so many seconds.

        A search that is too slow delays neither this call nor a later one.
        Raises: NoLiveVersion, PlanRefused: errors that more time would not avoid.
        """
