"""What every VectorIndex promises of searching."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.errors import NoLiveVersion
from mrag_pipeline.ports import SearchRequest, VectorIndex
from tests.support.fake_staging import table_of
from tests.support.index_rows import (
    HEAD,
    OLD,
    vectors,
)


@pytest.mark.parametrize("num_queries", [1, 7])
def test_search_is_exact(index: VectorIndex, num_queries: int) -> None:
    """Ids and cosines equal brute force, whatever the vectors' lengths (recall 1.0)."""
    rows = vectors(500) * np.random.default_rng(1).uniform(0.1, 9, (500, 1)).astype(np.float32)
    ids = np.random.default_rng(2).permutation(10**6)[:500].astype(np.int64) + 2**62
    index.load(HEAD, [table_of(ids, rows)])
    queries = vectors(num_queries, seed=3)
    [ranking] = index.search([SearchRequest(HEAD.name, queries, 20)])
    expected = top_k(ids, rows, queries, 20)
    np.testing.assert_array_equal(ranking.ids, expected.ids)
    np.testing.assert_allclose(ranking.scores, expected.scores, atol=1e-5)


def test_several_requests_are_answered_in_order(index: VectorIndex) -> None:
    """Each request's ranking is its own collection's, in its own shape."""
    other = replace(HEAD, name=f"docs_{OLD}_l05_h01")
    one, two = vectors(30), vectors(30, seed=1)
    index.load(HEAD, [table_of(range(30), one)])
    index.load(other, [table_of(range(100, 130), two)])
    answers = index.search(
        [
            SearchRequest(other.name, two[:3], 1),
            SearchRequest(HEAD.name, one[:2], 4),
            SearchRequest(other.name, two[7:8], 2),
        ]
    )
    assert [answer.ids.shape for answer in answers] == [(3, 1), (2, 4), (1, 2)]
    assert answers[0].ids[:, 0].tolist() == [100, 101, 102]
    assert answers[1].ids[:, 0].tolist() == [0, 1]
    assert answers[2].ids[0, 0] == 107


def test_short_rankings_are_padded(index: VectorIndex) -> None:
    """Fewer rows than asked for leave id -1 and score -inf behind them."""
    index.load(HEAD, [table_of([7, 8], vectors(2))])
    [ranking] = index.search([SearchRequest(HEAD.name, vectors(1), 4)])
    assert ranking.ids.dtype == np.int64
    assert ranking.scores.dtype == np.float32
    assert ranking.ids[0].tolist() == [7, 8, -1, -1]
    assert ranking.scores[0, 0] == pytest.approx(1.0)
    assert ranking.scores[0, 2:].tolist() == [-np.inf, -np.inf]


def test_no_requests_and_no_queries_give_empty_answers(index: VectorIndex) -> None:
    """Empty requests give empty answers of the right shapes."""
    index.load(HEAD, [table_of([7], vectors(1))])
    assert index.search([]) == []
    [ranking] = index.search([SearchRequest(HEAD.name, vectors(0), 3)])
    assert ranking.ids.shape == (0, 3)


def test_an_empty_collection_can_be_searched(index: VectorIndex) -> None:
    """The ranking is all padding."""
    index.load(HEAD, [])
    [ranking] = index.search([SearchRequest(HEAD.name, vectors(2), 3)])
    assert ranking.ids.tolist() == [[-1] * 3] * 2


def test_searching_a_missing_collection_raises(index: VectorIndex) -> None:
    """A search of a dropped version raises instead of returning no hits."""
    with pytest.raises(NoLiveVersion, match=HEAD.name):
        index.search([SearchRequest(HEAD.name, vectors(1), 3)])
