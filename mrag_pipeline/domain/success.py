"""Success of a query, its mean over a set, and the confidence interval of that mean.

Success as the paper counts it (arXiv 2406.05085, section 4): with k documents fetched, the share
of the query's aspects among them; the same over categories; and whether every aspect was found.
A set's figure is the mean over its groups of queries (by number of aspects), so that each group
counts the same. Intervals are by bootstrap over queries within the groups; two strategies are
compared on the same draws, so the interval of their difference is a paired one.

Shape legend: Q queries, R resamples, F figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.labelled_queries import LabelledQuery, LabelledSet

RESAMPLES = 10_000
LEVEL = 0.95  # of the intervals
SEED = 20240607  # the paper's day; any fixed one: the same figures in every run
_BLOCK = 500  # resamples at a time: bounds memory at Q x 4 kB


@dataclass(frozen=True, slots=True)
class Success:
    """One query's outcome with k documents fetched."""

    ratio: float  # of its aspects
    category_ratio: float  # of its aspects' categories; NaN if a category is unknown
    all_found: float  # 1.0 or 0.0


def success(query: LabelledQuery, fetched: Sequence[str], labelled: LabelledSet) -> Success:
    """How many of the query's aspects the fetched documents cover.

    Args:
        fetched: document ids, each once.
    """
    documents = frozenset(fetched)
    num_found = sum(not documents.isdisjoint(aspect.documents) for aspect in query.aspects)
    wanted = {aspect.category for aspect in query.aspects}
    category_ratio = float("nan")
    if "" not in wanted:
        fetched_categories = {labelled.categories.get(document, "") for document in documents}
        category_ratio = len(wanted & fetched_categories) / len(wanted)
    ratio = num_found / len(query.aspects)
    return Success(ratio, category_ratio, float(num_found == len(query.aspects)))


def unique(documents: Sequence[str]) -> list[str]:
    """Each document once, where it came first."""
    return list(dict.fromkeys(documents))


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its confidence interval over queries of the same kind."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """Draws of the queries, the same for every figure: what makes differences paired."""

    groups: NDArray[np.int64]  # (Q,) the group of each query

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean over groups of each group's mean: (F,) of (Q, F)."""
        return _weights(self.groups) @ values

    def intervals(self, values: NDArray[np.float64], resamples: int = RESAMPLES) -> list[Interval]:
        """The mean of each column, with its percentile interval.

        Args:
            values: (Q, F), finite.
        """
        drawn = np.concatenate([weights @ values for weights in self._draws(resamples)])
        tail = (1.0 - LEVEL) / 2.0
        low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
        means = self.means(values)
        return [
            Interval(float(mean), float(a), float(b))
            for mean, a, b in zip(means, low, high, strict=True)
        ]

    def _draws(self, resamples: int) -> Iterator[NDArray[np.float64]]:
        """Blocks of (R, Q): how much each query counts in each draw."""
        random = np.random.default_rng(SEED)
        members = [np.flatnonzero(self.groups == group) for group in np.unique(self.groups)]
        for start in range(0, resamples, _BLOCK):
            weights = np.zeros((min(_BLOCK, resamples - start), len(self.groups)))
            for rows in members:
                even = np.full(len(rows), 1.0 / len(rows))
                counts = random.multinomial(len(rows), even, size=len(weights))
                weights[:, rows] = counts / (len(rows) * len(members))
            yield weights


def _weights(groups: NDArray[np.int64]) -> NDArray[np.float64]:
    names, group_rows, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    weights: NDArray[np.float64] = 1.0 / (sizes[group_rows] * len(names))
    return weights
