"""The results of an evaluation: figures by strategy, measure, k and number of aspects.

Plain values that can be written as JSON and read back; drawn and printed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.labelled_queries import Flaw, LabelledQuery, LabelledSet
from mrag_pipeline.domain.success import Interval, Resamples, Success, success

SuccessMeasure = Literal["success_ratio", "category_success_ratio", "all_found"]
RankMeasure = Literal["ndcg", "recall", "mrr"]
Measure = SuccessMeasure | RankMeasure
SUCCESS_MEASURES: tuple[SuccessMeasure, ...] = (
    "success_ratio",
    "category_success_ratio",
    "all_found",
)
RANK_MEASURES: tuple[RankMeasure, ...] = ("ndcg", "recall", "mrr")  # at a number of documents
MEASURES: tuple[Measure, ...] = (*SUCCESS_MEASURES, *RANK_MEASURES)
AT_N = "n"  # as many documents as the query has aspects
DEFAULT_KS = (AT_N, "10", "20", "30")
BASELINE = "standard"
RIVALS = (BASELINE, "bm25", "hybrid")  # what every report is measured against

Rankings = Sequence[Sequence[str]]  # of each query: document ids, best first, each once
# The rank measures of each query of one ranking, cut at k documents.
RankMeasures = Callable[
    [Sequence[LabelledQuery], Rankings, int], Mapping[RankMeasure, Sequence[float]]
]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The difference to another strategy on the same queries."""

    strategy: str  # the other one
    interval: Interval

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.interval.low > 0.0 or self.interval.high < 0.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One strategy's success by one measure with k documents fetched."""

    strategy: str
    measure: Measure
    k: str  # "n" or a number
    mean: Interval  # over the numbers of aspects
    by_aspects: Mapping[int, float]
    differences: tuple[PairedDifference, ...] = ()

    def against(self, strategy: str) -> PairedDifference | None:
        """The difference to that strategy, if it was asked for."""
        return next((own for own in self.differences if own.strategy == strategy), None)


@dataclass(frozen=True, slots=True)
class WindowVote:
    """One window of an example query: which part of the vote for a document came from where."""

    text: str
    votes: tuple[float, ...]  # of each voter, in the example's order


@dataclass(frozen=True, slots=True)
class Example:
    """Which windows and heads voted for the documents that one query found."""

    query: str
    strategy: str
    voters: tuple[str, ...]  # heads, and the standard vector where it votes
    windows: tuple[WindowVote, ...]
    found: tuple[str, ...]  # the document ids that the votes are for


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated."""

    data_set: str
    relevance: str
    num_queries: int
    queries_by_aspects: Mapping[int, int]
    flaws: tuple[Flaw, ...]
    index: str
    version: str
    model: str
    num_documents: int
    num_chunks: int


@dataclass(frozen=True, slots=True)
class RerankCost:
    """What reranking one strategy's answers costs, mean of a question."""

    pairs: float  # of window and passage that are scored
    ms: float  # to score them: the pairs, by the mean time of one


@dataclass(frozen=True, slots=True)
class RerankGain:
    """The figures of strategies with a reranker; those without it are the evaluation's own."""

    reranker: str
    figures: tuple[Figure, ...]  # each with its difference to the same strategy without
    costs: Mapping[str, RerankCost]  # by strategy

    def figure(self, strategy: str, measure: Measure, k: str) -> Figure | None:
        """The figure, None if it was not taken."""
        return _figure(self.figures, strategy, measure, k)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that `mrag evaluate` reports."""

    subject: Subject
    strategies: tuple[str, ...]
    ks: tuple[str, ...]
    figures: tuple[Figure, ...]
    curves: Mapping[str, Mapping[int, float]]  # by strategy: mean success ratio by k
    importance: Mapping[str, float]  # of each head
    seconds: Mapping[str, float] = field(default_factory=dict)  # by phase
    examples: tuple[Example, ...] = ()
    reranking: RerankGain | None = None  # None: no reranker is configured
    # By kind of question, success at the first k; empty if the set has no kinds.
    by_kind: Mapping[str, tuple[Figure, ...]] = field(default_factory=dict)

    def is_by_aspects(self) -> bool:
        """Whether success is the mean over several numbers of aspects, else over the queries."""
        return any(
            len(figure.by_aspects) > 1
            for figure in self.figures
            if figure.measure in SUCCESS_MEASURES
        )

    def figure(self, strategy: str, measure: Measure, k: str) -> Figure | None:
        """The figure, None if it was not taken."""
        return _figure(self.figures, strategy, measure, k)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def figures_of(
    labelled: LabelledSet,
    rankings: Mapping[str, Rankings],
    ks: Sequence[str],
    baselines: Sequence[str] = (BASELINE,),
    rank_measures: RankMeasures | None = None,
) -> tuple[Figure, ...]:
    """Every strategy's figures, with paired differences to the baselines that are among them.

    Args:
        rankings: by strategy, one ranking for each query of the set, in its order, of at least
            the largest k documents where the corpus has so many.
        ks: "n" or whole numbers as text.
        rank_measures: measures rankings at the ks that are numbers; None: that is left out.
    Returns: figures ordered by measure, k and strategy; no category figures where the category
    of some query's aspects is not known. Success is the mean over the numbers of aspects where
    the set says so; a rank measure is the mean over queries, as the field has it.
    """
    columns = [(measure, k, strategy) for measure in MEASURES for k in ks for strategy in rankings]
    values = np.full((len(labelled.queries), len(columns)), np.nan)
    for strategy, ranked in rankings.items():
        for k in ks:
            outcomes = [
                success(query, fetched[: depth(k, len(query.aspects))], labelled)
                for query, fetched in zip(labelled.queries, ranked, strict=True)
            ]
            for measure, column in zip(SUCCESS_MEASURES, _columns(outcomes), strict=True):
                values[:, columns.index((measure, k, strategy))] = column
            if rank_measures is not None and k != AT_N:
                measured = rank_measures(labelled.queries, ranked, int(k))
                for rank_measure, per_query in measured.items():
                    values[:, columns.index((rank_measure, k, strategy))] = per_query
    known = [column for column in range(len(columns)) if not np.isnan(values[:, column]).any()]
    by_aspects = groups_of(labelled)
    figures: list[Figure] = []
    for measures, groups in (
        (SUCCESS_MEASURES, by_aspects),
        (RANK_MEASURES, np.zeros_like(by_aspects)),
    ):
        chosen = [column for column in known if columns[column][0] in measures]
        if chosen:
            named = [columns[column] for column in chosen]
            figures += _figures(named, values[:, chosen], groups, baselines)
    return tuple(figures)


def gains_of(
    labelled: LabelledSet,
    rankings: Mapping[str, Rankings],
    reranked: Mapping[str, Rankings],
    ks: Sequence[str],
    rank_measures: RankMeasures | None = None,
) -> tuple[Figure, ...]:
    """Each reranked strategy's figures, with the paired difference to the strategy as it was.

    Args:
        rankings, reranked: by strategy, as for `figures_of`.
        ks, rank_measures: as for `figures_of`.
    """
    figures: list[Figure] = []
    for strategy, ranked in reranked.items():
        name = f"{strategy} reranked"
        both = {strategy: rankings[strategy], name: ranked}
        figures += [
            replace(figure, strategy=strategy)
            for figure in figures_of(labelled, both, ks, (strategy,), rank_measures)
            if figure.strategy == name
        ]
    return tuple(figures)


def figures_by_kind(
    labelled: LabelledSet, rankings: Mapping[str, Rankings], k: str
) -> dict[str, tuple[Figure, ...]]:
    """Every strategy's success ratio among the queries of each kind, in the kinds' first order.

    Args:
        rankings: as for `figures_of`.
    Returns: empty if the set does not tell kinds apart.
    """
    figures = {}
    for kind in dict.fromkeys(query.kind for query in labelled.queries):
        rows = [row for row, query in enumerate(labelled.queries) if query.kind == kind]
        queries = tuple(labelled.queries[row] for row in rows)
        found = {name: [ranked[row] for row in rows] for name, ranked in rankings.items()}
        of_kind = figures_of(replace(labelled, queries=queries), found, (k,))
        figures[kind] = tuple(f for f in of_kind if f.measure == "success_ratio")
    return figures if len(figures) > 1 else {}


def groups_of(labelled: LabelledSet) -> NDArray[np.int64]:
    """(Q,) the group of each query, groups counting the same: by aspects, or all in one."""
    counts = np.array([query.num_named for query in labelled.queries], np.int64)
    return counts if labelled.by_aspects else np.zeros_like(counts)


def curve_of(labelled: LabelledSet, ranked: Rankings, ks: Sequence[int]) -> dict[int, float]:
    """The mean success ratio by the number of documents fetched."""
    groups = groups_of(labelled)
    values = np.array(
        [
            [success(query, fetched[:k], labelled).ratio for k in ks]
            for query, fetched in zip(labelled.queries, ranked, strict=True)
        ]
    )
    return dict(zip(ks, Resamples(groups).means(values).tolist(), strict=True))


def depth(k: str, num_aspects: int) -> int:
    """How many documents are fetched."""
    return num_aspects if k == AT_N else int(k)


def _figure(figures: Sequence[Figure], strategy: str, measure: Measure, k: str) -> Figure | None:
    wanted = (strategy, measure, k)
    return next((own for own in figures if (own.strategy, own.measure, own.k) == wanted), None)


def _columns(outcomes: Sequence[Success]) -> tuple[list[float], list[float], list[float]]:
    return (
        [outcome.ratio for outcome in outcomes],
        [outcome.category_ratio for outcome in outcomes],
        [outcome.all_found for outcome in outcomes],
    )


def _figures(
    columns: Sequence[tuple[Measure, str, str]],
    values: NDArray[np.float64],
    groups: NDArray[np.int64],
    baselines: Sequence[str],
) -> list[Figure]:
    number_of = {column: number for number, column in enumerate(columns)}
    pairs = [
        (number, number_of[measure, k, baseline])
        for (measure, k, strategy), number in number_of.items()
        for baseline in baselines
        if baseline != strategy and (measure, k, baseline) in number_of
    ]
    gaps = [values[:, number] - values[:, baseline] for number, baseline in pairs]
    intervals = Resamples(groups).intervals(np.column_stack([values, *gaps]))
    figures = []
    for (measure, k, strategy), number in number_of.items():
        differences = tuple(
            PairedDifference(columns[other][2], interval)
            for (own, other), interval in zip(pairs, intervals[len(columns) :], strict=True)
            if own == number
        )
        by_aspects = {int(n): float(values[groups == n, number].mean()) for n in np.unique(groups)}
        figures.append(Figure(strategy, measure, k, intervals[number], by_aspects, differences))
    return figures
