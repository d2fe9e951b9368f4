"""A question to an index version: a query, its embedded windows, and the wanted results.

Shape legend: W windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrag_pipeline.domain.aspects import Aspect
    from mrag_pipeline.domain.filters import Filter
    from mrag_pipeline.domain.heads import Embeddings
    from mrag_pipeline.domain.windows import Window


@dataclass(frozen=True, slots=True)
class Query:
    """A text to search for, and the strategy to search by."""

    text: str
    strategy: str = ""  # "": the configured one
    windows: tuple[str, ...] = ()  # in place of our own (`query/cut.py`); fusion's sub-queries
    voters: Mapping[str, float] = field(default_factory=dict)  # shares, as in `choose_strategy`


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedQuery:
    """A query's windows and their embeddings: row w of `embeddings` belongs to `windows[w]`."""

    windows: tuple[Window, ...]
    embeddings: Embeddings  # of W windows
    seconds: Mapping[str, float]  # of the whole batch, by phase: windows, encode
    num_batched: int = 1  # queries in that batch
    aspects: tuple[Aspect, ...] = ()  # what verdicts are given on; none: the whole query


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """An embedded query, and what is wanted of it."""

    query: Query
    embedded: EmbeddedQuery
    k: int = 10  # documents
    filter: Filter | None = None  # only documents that match
    visible: Filter | None = None  # a part of the filter: what the caller may see at all
    min_heads: int | None = None  # heads that must answer; None: all, and the standard vector too
    seconds: float | None = None  # for the searches; None: as long as the index takes
    passages: bool = False  # whether each hit has the passage that each window found
    min_score: float | None = None  # hits whose best cosine is lower are left out
    scores: bool = True  # whether hits and aspects are scored; with a min_score they always are

    @property
    def is_scored(self) -> bool:
        """Whether the answer has scores and verdicts."""
        return self.scores or self.min_score is not None
