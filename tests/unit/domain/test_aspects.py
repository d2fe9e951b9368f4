"""The aspects of a question, and how near passages are to them."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.aspects import Aspect, aspects_of, nearness, whole_aspect
from mrag_pipeline.domain.clauses import question_windows
from mrag_pipeline.domain.windows import Window, whole, windows_of
from mrag_pipeline.domain.windows import given as given_window
from mrag_pipeline.settings.windows import WindowSpec

SPEC = WindowSpec(short_words=4, span_words=4, run_words=10, clause_words=12, part_words=4)
LONG = "A dog ran up the steep hill after sheep. A star of carbon shone over the wide river."
SENTENCES = [(0, 40), (41, 84)]


def test_the_clauses_of_a_short_question_are_its_aspects() -> None:
    """Each is judged together with the whole question, whose window comes first."""
    query = "hash every file and mail a list"
    windows = question_windows(query, [(0, len(query))], SPEC)
    aspects = aspects_of(query, windows, [(0, len(query))])
    assert [aspect.text for aspect in aspects] == ["hash every file", "mail a list"]
    assert [query[aspect.start : aspect.end] for aspect in aspects] == [a.text for a in aspects]
    assert all(aspect.in_context for aspect in aspects)
    assert windows[0].scale == "query"


def test_a_question_of_one_clause_is_one_aspect() -> None:
    """Its overlapping parts are fragments, not aspects."""
    query = "how high is the hill beside the wide river today"
    windows = question_windows(query, [(0, len(query))], SPEC)
    assert len(windows) > 1
    assert aspects_of(query, windows, [(0, len(query))]) == [whole_aspect(windows)]


def test_the_sentences_of_a_long_question_are_its_aspects() -> None:
    """Whether sentences are windows, or only parts of them are."""
    expected = [LONG[start:end] for start, end in SENTENCES]
    by_parts = aspects_of(LONG, question_windows(LONG, SENTENCES, SPEC), SENTENCES)
    assert [aspect.text for aspect in by_parts] == expected
    assert min(len(aspect.windows) for aspect in by_parts) > 1
    by_sentence = aspects_of(LONG, windows_of(LONG, SENTENCES, SPEC), ())
    assert [aspect.text for aspect in by_sentence] == expected
    assert not any(aspect.in_context for aspect in (*by_parts, *by_sentence))


def test_the_callers_windows_are_the_aspects() -> None:
    """As they were given, whatever they are."""
    windows = [given_window("the dog and the star", text, "given") for text in ("dog", "moon")]
    assert [aspect.text for aspect in aspects_of("the dog and the star", windows, ())] == [
        "dog",
        "moon",
    ]


@given(st.text(max_size=80), st.integers(0, 4))
def test_every_question_has_aspects_of_windows_that_exist(query: str, cuts: int) -> None:
    """Whatever the text, and wherever its sentences end."""
    edges = sorted({0, len(query), *(len(query) * n // (cuts + 1) for n in range(cuts))})
    sentences = list(itertools.pairwise(edges))
    for windows in (
        question_windows(query, sentences, SPEC),
        windows_of(query, sentences, SPEC),
        [whole(query)],
    ):
        aspects = aspects_of(query, windows, sentences)
        assert aspects
        for aspect in aspects:
            assert aspect.windows
            assert set(aspect.windows) <= set(range(len(windows)))


COSINES = np.array([[0.2, 0.6, np.nan], [0.8, 0.4, 0.9], [0.1, 0.7, np.nan]])


def test_an_aspect_is_as_near_as_its_nearest_window() -> None:
    """By passage; unknown only where no window is known."""
    near = nearness(Aspect("", 0, 1, (0, 2)), COSINES)
    np.testing.assert_allclose(near, [0.2, 0.7, np.nan])


def test_a_clause_is_judged_together_with_the_whole_question() -> None:
    """A passage near to a generic clause and far from the question is not near."""
    near = nearness(Aspect("", 0, 1, (1,), in_context=True), COSINES)
    np.testing.assert_allclose(near, [0.5, 0.5, np.nan])


def test_white_space_of_an_aspect_is_single() -> None:
    """As in windows, so that a line break of the question does not break a table."""
    [aspect] = aspects_of("the\n dog", [Window("the\n dog", 0, 8, "query")], ())
    assert aspect.text == "the dog"
