"""Agreement of words, and preferences that repeat or do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mrag_pipeline.domain.neighbours import Neighbours
from mrag_pipeline.domain.shared_words import (
    Words,
    agreements,
    dealt,
    preferences,
    words_of_pair,
)


def words_from(*texts: str) -> Words:
    """Texts with the ids 0, 1, ..."""
    words = Words()
    for chunk_id, text in enumerate(texts):
        words.add(chunk_id, set(text.split()))
    words.weigh()
    return words


def lists(rows: list[list[int]]) -> Neighbours:
    chunks = np.array(rows, np.int64)
    return Neighbours(chunks, chunks)


def test_agreement_is_the_worth_of_shared_words_over_all() -> None:
    """A word of two in four texts is worth ln 2, one of a single text ln 4."""
    words = words_from("a b", "a c", "d", "e")
    shared, own = math.log(2), math.log(4)
    assert words.agreement(0, 1) == pytest.approx(shared / (shared + 2 * own))
    assert words.agreement(0, 2) == 0.0
    assert words.agreement(0, 0) == pytest.approx(1.0)


def test_a_word_of_every_text_is_worth_nothing() -> None:
    """What all share says nothing of two."""
    assert words_from("the", "the").agreement(0, 1) == 0.0


def test_agreements_are_nan_where_nothing_is_chosen() -> None:
    """A mean over no neighbour is not 0."""
    words = words_from("a b", "a b", "c")
    means = agreements(
        words, [0, 2], lists([[1, 2], [0, 1]]), np.array([[True, False], [False, False]])
    )
    assert means[0] == pytest.approx(1.0)
    assert np.isnan(means[1])


def test_dealing_gives_every_list_to_another_chunk() -> None:
    """Each list once, none to its own chunk."""
    voter = lists([[row] for row in range(50)])
    rows = dealt(voter, seed=3).documents[:, 0].tolist()
    assert sorted(rows) == list(range(50))
    assert all(row != place for place, row in enumerate(rows))


def voters_over(num: int, keep: list[list[str]], seed: int = 0) -> tuple[Words, list[Neighbours]]:
    """Texts of 12 of 30 words; voter v's neighbours share the listed words, else are random."""
    random = np.random.default_rng(seed)
    vocabulary = [f"w{number:02d}" for number in range(30)]
    texts = [" ".join(random.choice(vocabulary, 12, replace=False)) for _ in range(num)]
    words = words_from(*texts)
    voters = []
    for own in keep:
        rows = []
        for chunk, text in enumerate(texts):
            wanted = set(own) & set(text.split())
            score = [len(wanted & set(other.split())) + random.random() for other in texts]
            score[chunk] = -1.0
            rows.append(np.argsort(score)[::-1][:5].tolist())
        voters.append(lists(rows))
    return words, voters


def test_preferences_of_voters_that_have_some_repeat() -> None:
    """Each is told by its words in the other half, and its words are shown."""
    own = [[f"w{start + step:02d}" for step in range(5)] for start in (0, 10, 20)]
    words, voters = voters_over(120, own)
    preferred = preferences(words, range(120), voters)
    repeated = preferred.repeatability(0)
    assert repeated is not None
    assert repeated.own.min() > 0.8
    assert repeated.recognised == 1.0
    for number, expected in enumerate(own):
        keeps, _ = preferred.strongest(number, 5)
        assert {preference.word for preference in keeps} == set(expected)
        assert all(preference.kept > preference.kept_by_others for preference in keeps)


def test_preferences_of_noise_do_not_repeat() -> None:
    """Three voters whose neighbours are random: halves are unrelated."""
    words, voters = voters_over(120, [[], [], []])
    repeated = preferences(words, range(120), voters).repeatability(0)
    assert repeated is not None
    assert abs(repeated.own.mean()) < 0.25
    assert repeated.size.max() < 0.03


def test_equal_voters_have_no_preferences() -> None:
    """Nothing is kept more than by the others."""
    words, [voter] = voters_over(60, [["w01", "w02"]])
    preferred = preferences(words, range(60), [voter, voter])
    repeated = preferred.repeatability(0)
    assert repeated is not None
    assert repeated.own.tolist() == [0.0, 0.0]
    assert preferred.strongest(0, 5) == ([], [])


def test_too_few_words_say_nothing() -> None:
    """None, not a figure from three words."""
    words = words_from(*(["a b c"] * 20))
    voter = lists([[1], *([[0]] * 19)])
    assert preferences(words, range(20), [voter, voter]).repeatability(0) is None


def test_one_voter_has_no_others_to_compare_with() -> None:
    """Its preferences cannot be told."""
    words, [voter] = voters_over(60, [["w01"]])
    assert preferences(words, range(60), [voter]).repeatability(0) is None


def test_the_words_of_a_pair_are_rare_with_others() -> None:
    """Shared by the two, and by at most a quarter of the others; the rarest first."""
    words = words_from("x y z q", "x y z", "x", "x", "y", "q", "n", "n")
    assert words_of_pair(words, 0, 1, [2, 3, 4, 6], 8) == ["z", "y"]
    assert words_of_pair(words, 0, 1, [2, 3, 4, 6], 1) == ["z"]
