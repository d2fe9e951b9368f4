"""nDCG, recall and reciprocal rank of rankings."""

from __future__ import annotations

import math

import pytest

from mrag_pipeline.domain.evaluation import figures_of
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet
from mrag_pipeline.stages.evaluate.rank_measures import rank_measures


def query(**grades: int) -> LabelledQuery:
    aspects = tuple(Aspect(frozenset([document])) for document in grades)
    return LabelledQuery("q", aspects, len(aspects), grades=grades)


def test_measures_are_those_of_the_field() -> None:
    """By hand: gains of 2 at rank 2 and 1 at rank 3; ideally at ranks 1 and 2."""
    measures = rank_measures([query(a=2, b=1)], [["x", "a", "b"]], 10)
    gained = 2 / math.log2(3) + 1 / math.log2(4)
    assert measures["ndcg"] == [pytest.approx(gained / (2 + 1 / math.log2(3)))]
    assert measures["recall"] == [1.0]
    assert measures["mrr"] == [0.5]


def test_only_the_first_k_count() -> None:
    """Documents below rank k change nothing."""
    measures = rank_measures([query(a=1, b=1)], [["x", "a", "b"]], 1)
    assert (measures["ndcg"], measures["recall"], measures["mrr"]) == ([0.0], [0.0], [0.0])


def test_equal_names_do_not_change_an_order() -> None:
    """trec_eval breaks ties of score by name: there are none."""
    assert rank_measures([query(z=1)], [["z", "a"]], 10)["mrr"] == [1.0]
    assert rank_measures([query(z=1)], [["a", "z"]], 10)["mrr"] == [0.5]


def test_a_query_without_hits_counts_as_nothing_found() -> None:
    """It keeps its position."""
    assert rank_measures([query(a=1), query(b=1)], [[], ["b"]], 10)["recall"] == [0.0, 1.0]


def test_figures_have_rank_measures_over_queries() -> None:
    """Success over the numbers of aspects where the set says so, ranks over queries always."""
    single, double = query(a=1), query(a=1, b=1)
    labelled = LabelledSet("s", (single, single, single, double), "")
    rankings = {"standard": [["a"], ["a"], ["a"], ["x"]]}
    figures = {
        (figure.measure, figure.k): figure.mean.value
        for figure in figures_of(labelled, rankings, ("n", "10"), (), rank_measures)
    }
    assert figures["success_ratio", "n"] == pytest.approx(0.5)  # 1.0 of one aspect, 0.0 of two
    assert figures["recall", "10"] == pytest.approx(0.75)
    assert ("ndcg", "n") not in figures
