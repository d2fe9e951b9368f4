"""Exact search against the simplest way to write it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.domain import exact_search
from mrag_pipeline.domain.exact_search import Hits, merge, top_k


def test_the_nearest_by_angle_comes_first() -> None:
    """Length does not matter: (3, 4) and (30, 40) tie, and the smaller id wins."""
    vectors = np.array([[30, 40], [0, 2], [3, 4], [-3, -4]], dtype=np.float32)
    hits = top_k(np.array([9, 5, 2, 1]), vectors, np.array([[3.0, 4.0]]), 4)
    assert hits.ids.tolist() == [[2, 9, 5, 1]]
    np.testing.assert_allclose(hits.scores, [[1.0, 1.0, 0.8, -1.0]], atol=1e-7)


def test_ties_at_the_cut_go_to_the_smaller_ids() -> None:
    """Five equal rows and k = 2: the two smallest ids, in whatever order the rows are."""
    ids = np.array([50, 10, 40, 30, 20])
    hits = top_k(ids, np.ones((5, 3), np.float32), np.ones((1, 3)), 2)
    assert hits.ids.tolist() == [[10, 20]]


def test_too_few_rows_are_padded() -> None:
    """Id -1 and score -inf fill what is missing."""
    hits = top_k(np.array([4]), np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), 3)
    assert hits.ids.tolist() == [[4, -1, -1], [4, -1, -1]]
    assert hits.scores.tolist() == [[1.0, -np.inf, -np.inf], [0.0, -np.inf, -np.inf]]


def test_without_rows_there_is_only_padding() -> None:
    """No rows, or no queries, is not an error."""
    empty = np.zeros((0, 2), np.float32)
    assert top_k(np.zeros(0, np.int64), empty, np.ones((2, 2)), 2).ids.tolist() == [[-1, -1]] * 2
    assert top_k(np.array([1]), np.ones((1, 2)), empty, 2).ids.shape == (0, 2)


def test_a_zero_vector_is_similar_to_nothing() -> None:
    """Score 0, not NaN."""
    hits = top_k(np.array([1, 2]), np.array([[0.0, 0.0], [-1.0, 0.0]]), np.array([[1.0, 0.0]]), 2)
    assert hits.ids.tolist() == [[1, 2]]
    assert hits.scores.tolist() == [[0.0, -1.0]]


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=0, max_size=30),
    block=st.integers(1, 8),
    k=st.integers(1, 10),
    seed=st.integers(0, 99),
)
def test_blocks_and_parts_do_not_change_the_answer(
    rows: list[tuple[int, int]], block: int, k: int, seed: int
) -> None:
    """However the rows are cut or merged, the ranking is that of a plain sort."""
    ids = np.random.default_rng(seed).permutation(len(rows)).astype(np.int64)
    vectors = np.array(rows, dtype=np.float32).reshape(-1, 2)
    query = np.array([[2.0, 1.0]])

    def cosine(row: tuple[int, int]) -> float:
        length = np.hypot(*row)
        return round((2 * row[0] + row[1]) / (length * 5**0.5), 6) if length else 0.0

    plain = sorted((-cosine(row), i) for row, i in zip(rows, ids.tolist(), strict=True))[:k]
    expected = [i for _, i in plain] + [-1] * (k - len(plain))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exact_search, "_BLOCK_ROWS", block)
        whole = top_k(ids, vectors, query, k)
    with pytest.MonkeyPatch.context() as patched:
        # The same rows, of two numbers each.
        patched.setattr(exact_search, "_BLOCK_NUMBERS", 2 * block)
        assert top_k(ids, vectors, query, k).ids[0].tolist() == expected
    middle = len(rows) // 2
    parts = [
        top_k(ids[cut], vectors[cut], query, k) for cut in (slice(middle, None), slice(0, middle))
    ]
    assert whole.ids[0].tolist() == expected
    assert merge(parts, k).ids[0].tolist() == expected


def test_merging_skips_padding() -> None:
    """A part's padding never takes a real hit's place."""
    pad = Hits(np.array([[-1, -1]]), np.full((1, 2), -np.inf, np.float32))
    real = Hits(np.array([[3, -1]]), np.array([[-0.5, -np.inf]], np.float32))
    assert merge([pad, real], 2).ids.tolist() == [[3, -1]]
