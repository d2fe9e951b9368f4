from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mrag_pipeline.domain.evaluation import (
    Evaluation,
    Subject,
    curve_of,
    depth,
    figures_by_kind,
    figures_of,
)
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet, flaw

A, B, C = (Aspect(frozenset([name]), name, name.upper()) for name in "abc")
LABELLED = LabelledSet(
    "toy",
    (LabelledQuery("one", (A,), 1), LabelledQuery("two", (B, C), 2)),
    "any",
    {"a": "A", "b": "B", "c": "C", "x": "X"},
)
RANKINGS = {
    "standard": [["x", "a"], ["b", "x", "c"]],
    "aspect": [["a", "x"], ["b", "c", "x"]],
}


def test_k_is_a_number_or_as_many_as_the_query_has_aspects() -> None:
    """`n` fetches as many documents as there are aspects to find."""
    assert (depth("n", 3), depth("10", 3)) == (3, 10)


def test_figures_by_hand() -> None:
    """At k = n standard finds none of one and one of two: 0 and 0.5, mean 0.25."""
    figures = figures_of(LABELLED, RANKINGS, ["n", "3"])
    by_name = {(figure.measure, figure.k, figure.strategy): figure for figure in figures}
    at_n = by_name["success_ratio", "n", "standard"]
    assert dict(at_n.by_aspects) == {1: 0.0, 2: 0.5}
    assert at_n.mean.value == 0.25
    assert by_name["success_ratio", "n", "aspect"].mean.value == 1.0
    assert by_name["success_ratio", "3", "standard"].mean.value == 1.0
    assert by_name["all_found", "n", "standard"].mean.value == 0.0
    assert len(figures) == 3 * 2 * 2


def test_kinds_of_questions_are_counted_apart() -> None:
    """Standard finds nothing of the short one and half of the long one; one kind is no table."""
    one, two = LABELLED.queries
    labelled = replace(LABELLED, queries=(replace(one, kind="short"), replace(two, kind="long")))
    figures = figures_by_kind(labelled, RANKINGS, "n")
    means = {kind: [f.mean.value for f in of_kind] for kind, of_kind in figures.items()}
    assert means == {"short": [0.0, 1.0], "long": [0.5, 1.0]}
    assert figures_by_kind(LABELLED, RANKINGS, "n") == {}


def test_a_strategy_is_compared_with_the_baseline_and_the_baseline_with_nothing() -> None:
    """One more of one and one more of two: 0.75; no resample is below zero."""
    figures = figures_of(LABELLED, RANKINGS, ["n"])
    by_name = {(figure.measure, figure.strategy): figure for figure in figures}
    gap = by_name["success_ratio", "aspect"].against("standard")
    assert gap is not None
    assert gap.interval.value == pytest.approx(0.75)
    assert gap.is_clear
    assert by_name["success_ratio", "standard"].differences == ()


def test_categories_that_are_not_known_give_no_figure() -> None:
    """A user's own queries have no categories: the measure is left out, not zero."""
    own = LabelledSet("own", (LabelledQuery("q", (Aspect(frozenset("a")),), 1),), "any")
    figures = figures_of(own, {"standard": [["a"]]}, ["n"])
    assert {figure.measure for figure in figures} == {"success_ratio", "all_found"}


def test_a_query_counts_under_the_aspects_it_names_and_fetches_those_it_can_find() -> None:
    """A query of three topics, one of which has no file, is in group 3 and fetches 2."""
    labelled = LabelledSet("toy", (LabelledQuery("q", (A, B), 3),), "any", {"a": "A", "b": "B"})
    [figure, *_] = figures_of(labelled, {"standard": [["a", "x", "b"]]}, ["n"])
    assert dict(figure.by_aspects) == {3: 0.5}


def test_the_curve_rises_with_k() -> None:
    """Two documents find what one cannot."""
    assert curve_of(LABELLED, RANKINGS["standard"], [1, 2, 3]) == {1: 0.25, 2: 0.75, 3: 1.0}


def test_an_evaluation_is_plain_json() -> None:
    """Everything in it can be written, and read by any program."""
    subject = Subject("toy", "any", 2, {1: 1, 2: 1}, flaw("odd", ["x"]), "toy", "v0", "m", 4, 4)
    figures = figures_of(LABELLED, RANKINGS, ["n"])
    evaluation = Evaluation(subject, ("standard", "aspect"), ("n",), figures, {}, {"l00_h00": 1.0})
    values = json.loads(json.dumps(evaluation.to_dict()))
    assert values["subject"]["flaws"] == [{"what": "odd", "count": 1, "examples": ["x"]}]
    assert values["figures"][0]["mean"]["value"] == 0.25
    assert evaluation.figure("aspect", "success_ratio", "n") is not None
    assert evaluation.figure("aspect", "success_ratio", "99") is None
