"""Searches by vectors and by words.

Shape legend: W queries, c hits per ranking, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.ports.index.capabilities import HasCapabilities
from mrag_pipeline.settings.lexical import LexicalSpec


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Ordered hits of W queries; fewer hits than c are padded with id -1 and score -inf."""

    ids: NDArray[np.int64]  # (W, c)
    scores: NDArray[np.float32]  # (W, c), falling: cosine similarity, or BM25 (above 0)

    @classmethod
    def nothing(cls, num_queries: int, limit: int) -> Ranking:
        """No hit for any query."""
        shape = (num_queries, limit)
        return cls(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """W query vectors to one collection of vectors."""

    collection: str
    vectors: NDArray[np.float32]  # (W, D)
    limit: int  # c
    among: NDArray[np.int64] | None = None  # only these ids; None: all

    @property
    def num_queries(self) -> int:
        """W."""
        return len(self.vectors)

    def rows(self, rows: NDArray[np.intp]) -> SearchRequest:
        """The same request with only these queries."""
        return replace(self, vectors=self.vectors[rows])

    def joined(self, others: Sequence[SearchRequest]) -> SearchRequest:
        """One request for the queries of all, as deep as the deepest."""
        requests = [self, *others]
        return replace(
            self,
            vectors=np.concatenate([request.vectors for request in requests]),
            limit=max(request.limit for request in requests),
        )

    def nothing(self) -> Ranking:
        """A ranking without hits."""
        return Ranking.nothing(self.num_queries, self.limit)


@dataclass(frozen=True, slots=True)
class TextSearchRequest:
    """W texts to a lexical collection; hits share a word with their text."""

    collection: str
    texts: tuple[str, ...]  # W
    limit: int  # c
    lexical: LexicalSpec  # the collection's
    among: NDArray[np.int64] | None = None  # only these ids; None: all

    @property
    def num_queries(self) -> int:
        """W."""
        return len(self.texts)

    def rows(self, rows: NDArray[np.intp]) -> TextSearchRequest:
        """The same request with only these texts."""
        return replace(self, texts=tuple(self.texts[row] for row in rows.tolist()))

    def joined(self, others: Sequence[TextSearchRequest]) -> TextSearchRequest:
        """One request for the texts of all, as deep as the deepest."""
        requests = [self, *others]
        return replace(
            self,
            texts=tuple(text for request in requests for text in request.texts),
            limit=max(request.limit for request in requests),
        )

    def nothing(self) -> Ranking:
        """A ranking without hits."""
        return Ranking.nothing(self.num_queries, self.limit)


AnySearchRequest = SearchRequest | TextSearchRequest


class Searches(HasCapabilities, Protocol):
    """Searches of an index's collections.

    The two searches raise IndexBusy (another process owns the index) or IndexUnavailable when
    they cannot answer.
    """

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests; run at the same time where that helps."""

    def search_within(
        self, requests: Sequence[AnySearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """As `search`; None for a request that fails or is not answered in so many seconds.

        A search that is too slow delays neither this call nor a later one.
        Raises: NoLiveVersion, PlanRefused: errors that more time would not avoid.
        """
