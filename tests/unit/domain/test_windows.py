"""How a query is cut, in any script and at any length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.domain.windows import Window, most_distinct, windows_of
from mrag_pipeline.settings.windows import WindowSpec
from tests.support.fake_encoder import FakeSegmenter

SPEC = WindowSpec(short_words=4, span_words=4, run_words=8, max_windows=16)
LETTERS = "a b c. d e f g h. i j k l m n."  # sentences of 3, 5 and 6 words


def cut(query: str, spec: WindowSpec = SPEC) -> list[Window]:
    return windows_of(query, FakeSegmenter().sentences(query), spec)


def texts(query: str, scale: str, spec: WindowSpec = SPEC) -> list[str]:
    return [window.text for window in cut(query, spec) if window.scale == scale]


def test_a_short_query_is_one_window_with_its_text_as_it_is() -> None:
    """Then the vote is exactly the paper's, however many sentences it has."""
    assert cut(" One two. Three\n") == [Window(" One two. Three\n", 0, 16, "query")]
    assert len(cut("one two three four five")) > 1


def test_sentences_are_windows() -> None:
    """In their order."""
    assert texts(LETTERS, "sentence") == ["a b c.", "d e f g h.", "i j k l m n."]


def test_neighbouring_sentences_are_merged_into_runs() -> None:
    """3 + 5 words fit 8, another 6 do not; the last is a sentence already."""
    assert texts(LETTERS, "run") == ["a b c. d e f g h."]


def test_spans_overlap_by_half() -> None:
    """Four words every two, through sentence ends."""
    assert texts("a b c d. e f g h", "span")[:2] == ["c d. e f"]
    assert texts("a b c d e f g h", "span") == ["a b c d", "c d e f", "e f g h"]


def test_a_long_sentence_is_cut_into_even_parts() -> None:
    """Twelve words in a run of eight at most: six and six."""
    words = " ".join("abcdefghijkl")
    assert texts(words, "sentence") == ["a b c d e f", "g h i j k l"]


def test_no_text_is_a_window_twice() -> None:
    """A refrain is searched once."""
    window_texts = [window.text for window in cut("la la la la. la la la la. la la la la.")]
    assert len(window_texts) == len(set(window_texts))


def test_a_window_is_the_query_between_its_ends() -> None:
    """White space is made single for the encoder only."""
    query = "one  two\nthree four five six. Seven eight nine"
    for window in cut(query):
        assert window.text == " ".join(query[window.start : window.end].split())


@pytest.mark.parametrize(
    "query",
    [
        "机器学习是人工智能的一个分支。深度学习使用神经网络处理大量数据。检索增强生成结合了搜索和语言模型。",
        "ประเทศไทยมีประวัติศาสตร์ยาวนานและวัฒนธรรมที่หลากหลายจากเหนือจรดใต้และตะวันออกถึงตะวันตก",
        "for(i=0;i<n;i++){total+=weights[i]*values[i];}return(total/normalisation_constant(n));"
        * 2,
    ],
)
def test_a_script_without_spaces_is_cut_too(query: str) -> None:
    """There, a few characters count as a word."""
    windows = cut(query)
    assert len(windows) > 3
    assert all(window.end - window.start <= 60 for window in windows if window.scale == "span")


@pytest.mark.parametrize("query", ["", "   ", "?!", ". . . . . . . . . .", "\n\n\n"])
def test_a_query_without_words_is_itself(query: str) -> None:
    """Having nothing to cut is not an error here."""
    assert [window.text for window in cut(query)] == [query]


@given(st.text(max_size=400), st.integers(1, 6), st.integers(1, 20))
@settings(max_examples=200)
def test_windows_are_inside_the_query_and_bounded(text: str, span: int, max_windows: int) -> None:
    """Whatever the text: at least one window, at most eight times the cap and a few."""
    spec = WindowSpec(short_words=2, span_words=span, run_words=2 * span, max_windows=max_windows)
    windows = cut(text, spec)
    assert 1 <= len(windows) <= 8 * max_windows + 3
    assert all(0 <= window.start <= window.end <= len(text) for window in windows)


def test_a_very_long_query_has_no_more_windows() -> None:
    """Twenty thousand words: the windows grow instead, and still reach the end."""
    query = " ".join(f"w{number}" + "." * (number % 3 == 0) for number in range(20_000))
    windows = cut(query, WindowSpec())
    assert len(windows) <= 8 * WindowSpec().max_windows + 3
    assert max(window.end for window in windows) == len(query)


def test_near_duplicates_are_dropped() -> None:
    """The second is almost the first."""
    standard = np.array([[1.0, 0.0], [0.999, 0.045], [0.0, 1.0]])
    assert most_distinct(standard, WindowSpec()).tolist() == [0, 2]


def test_the_most_distinct_are_kept() -> None:
    """Room for two: the first, and the one farthest from it."""
    standard = np.array([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
    assert most_distinct(standard, WindowSpec(max_windows=2)).tolist() == [0, 2]
    assert most_distinct(standard, WindowSpec()).tolist() == [0, 1, 2]


def test_no_window_gives_none() -> None:
    """An empty batch is not an error."""
    assert most_distinct(np.zeros((0, 3)), WindowSpec()).tolist() == []
