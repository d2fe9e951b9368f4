"""Which documents a reranker scores for which window, and the order that its scores make."""

from __future__ import annotations

import numpy as np
import pytest

from mrag_pipeline.domain.reranking import (
    MIN_DOCUMENTS,
    WindowDocuments,
    documents_by_window,
    reranked,
)
from mrag_pipeline.domain.strategies import STRATEGIES


def test_one_window_is_scored_for_the_first_documents() -> None:
    """As many as the budget, in the vote's order."""
    votes = np.array([[5.0], [4.0], [3.0], [2.0], [1.0], [0.5]])
    assert documents_by_window(votes, 5) == [WindowDocuments(0, 5.0, (0, 1, 2, 3, 4))]


def test_windows_share_the_budget_by_their_highest_votes() -> None:
    """Each gets MIN_DOCUMENTS, and of the rest as its highest vote is large."""
    votes = np.column_stack([np.linspace(3.0, 0.1, 40), np.linspace(0.1, 1.0, 40)])
    first, second = documents_by_window(votes, 20)
    assert (len(first.documents), len(second.documents)) == (MIN_DOCUMENTS + 9, MIN_DOCUMENTS + 3)
    assert first.documents == tuple(range(13))
    assert second.documents == (39, 38, 37, 36, 35, 34, 33)
    assert (first.weight, second.weight) == (3.0, 1.0)


@pytest.mark.parametrize("budget", [1, 3, 4, 10, 50, 1000])
@pytest.mark.parametrize("num_windows", [1, 2, 7, 60])
def test_the_budget_is_never_exceeded(budget: int, num_windows: int) -> None:
    """Whatever the question: a story of 60 windows costs what a short question does."""
    votes = np.random.default_rng(3).random((80, num_windows))
    chosen = documents_by_window(votes, budget)
    assert 0 < sum(len(row.documents) for row in chosen) <= budget
    assert all(len(set(row.documents)) == len(row.documents) for row in chosen)


def test_windows_that_gave_least_are_left_out_first() -> None:
    """Where the budget is too small for all; those that gave nothing are always left out."""
    votes = np.array([[1.0, 0.0, 3.0, 2.0]] * 9)
    assert [row.window for row in documents_by_window(votes, 2 * MIN_DOCUMENTS)] == [2, 3]
    assert [row.window for row in documents_by_window(votes, 100)] == [0, 2, 3]


def test_documents_without_a_vote_in_a_window_are_not_scored_for_it() -> None:
    """The window has not found them."""
    votes = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0]])
    assert [row.documents for row in documents_by_window(votes, 100)] == [(0, 2), (1,)]


def test_nothing_found_is_nothing_to_score() -> None:
    """No documents, or no votes."""
    assert documents_by_window(np.zeros((0, 3)), 50) == []
    assert documents_by_window(np.zeros((4, 3)), 50) == []


@pytest.mark.parametrize("name", STRATEGIES)
def test_one_window_is_ordered_by_its_scores(name: str) -> None:
    """The ordinary reranking, whatever rule the strategy votes by; equal scores as the vote did."""
    [window] = documents_by_window(np.array([[5.0], [4.0], [3.0], [2.0], [1.0]]), 50)
    scores = [np.array([-2.0, 7.0, 0.0, 7.0, -1.5])]
    order = reranked([window], scores, STRATEGIES[name], 5)
    assert [place.document for place in order] == [1, 3, 2, 4, 0]
    assert [place.score for place in order] == [7.0, 7.0, 0.0, -1.5, -2.0]


@pytest.mark.parametrize(
    "name", [name for name, option in STRATEGIES.items() if option.windows != "query"]
)
def test_each_windows_best_document_comes_before_any_second(name: str) -> None:
    """However much higher the scores of one window are: they are compared within a window only."""
    windows = [WindowDocuments(0, 1.0, (0, 1, 2)), WindowDocuments(1, 0.9, (3, 4, 5))]
    scores = [np.array([0.97, 0.98, 0.99]), np.array([0.001, 0.003, 0.002])]
    order = reranked(windows, scores, STRATEGIES[name], 5)
    assert {place.document for place in order[:2]} == {2, 4}
    assert {(place.document, place.window) for place in order} == {
        *((document, 0) for document in (0, 1, 2)),
        *((document, 1) for document in (3, 4, 5)),
    }


def test_a_document_of_two_windows_has_one_place() -> None:
    """With the score of the window that gave it most."""
    windows = [WindowDocuments(0, 1.0, (0, 1)), WindowDocuments(3, 0.8, (0, 1))]
    scores = [np.array([0.2, 0.9]), np.array([0.5, 0.4])]
    order = reranked(windows, scores, STRATEGIES["aspect"], 5)
    assert [(place.document, place.window, place.score) for place in order] == [
        (1, 0, 0.9),
        (0, 3, 0.5),
    ]


def test_no_windows_have_no_order() -> None:
    """Nothing was scored."""
    assert reranked([], [], STRATEGIES["aspect"], 5) == []
