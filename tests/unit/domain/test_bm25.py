"""BM25 over texts in memory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mrag_pipeline.domain.bm25 import Bm25

TEXTS = ["a b", "a a c", "d"]


def test_scores_are_the_formula() -> None:
    """Computed by hand: two words in a text of mean length."""
    index = Bm25([1, 2, 3], TEXTS, k1=1.2, b=0.75)
    idf_a = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    idf_b = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    expected = (idf_a + idf_b) * 2.2 / (1 + 1.2)  # its length, 2, is the mean
    assert index.scores("a b")[0] == pytest.approx(expected)
    longer = 1.2 * (0.25 + 0.75 * 3 / 2)
    assert index.scores("a b")[1] == pytest.approx(idf_a * 2 * 2.2 / (2 + longer))
    assert index.scores("a b")[2] == 0.0


def test_only_texts_with_a_word_of_the_query_are_hits() -> None:
    """The rest of a ranking is padded."""
    ids, scores = Bm25([5, 6, 7], TEXTS).search(["a", "nothing"], limit=3)
    assert ids.tolist() == [[6, 5, -1], [-1, -1, -1]]
    assert np.isneginf(scores[0, 2])
    assert scores[0, 0] > scores[0, 1] > 0


def test_equal_scores_come_by_rising_id() -> None:
    """Whatever the order of the texts."""
    ids, _ = Bm25([9, 4], ["x y", "x y"]).search(["x"], limit=2)
    assert ids.tolist() == [[4, 9]]


def test_only_the_given_ids_are_searched() -> None:
    """Their scores still count the words of all texts."""
    index = Bm25([5, 6, 7], TEXTS)
    ids, scores = index.search(["a"], 2, among=np.array([5, 7]))
    assert ids.tolist() == [[5, -1]]
    assert scores[0, 0] == pytest.approx(index.scores("a")[0])


def test_an_empty_index_has_no_hits() -> None:
    """Nor does one whose texts are empty."""
    assert Bm25([], []).search(["a"], 1)[0].tolist() == [[-1]]
    assert Bm25([1], [""]).search(["a"], 1)[0].tolist() == [[-1]]
