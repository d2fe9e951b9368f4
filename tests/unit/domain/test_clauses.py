"""The windows of any question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.clauses import question_windows
from mrag_pipeline.settings.windows import WindowSpec

SPEC = WindowSpec(min_part_words=4)


def texts(query: str, scale: str, spec: WindowSpec = SPEC) -> list[str]:
    windows = question_windows(query, [(0, len(query))], spec)
    return [window.text for window in windows if window.scale == scale]


@pytest.mark.parametrize(
    ("query", "clauses"),
    [
        (
            "Open a ZIP file, read a CSV in it and total a column",
            ["Open a ZIP file", "read a CSV in it", "total a column"],
        ),
        ("Send an e-mail; then log failures.", ["Send an e-mail", "log failures"]),
        ("Öffne die Datei und lies sie", ["Öffne die Datei", "lies sie"]),
        ("打开文件，读取表格。", ["打开文件", "读取表格"]),
        ("version 3.11, not 2.7", ["version 3.11", "not 2.7"]),
        ("sand in the hand", []),  # no conjunction inside a word
    ],
)
def test_a_question_is_cut_at_punctuation_and_conjunctions(query: str, clauses: list[str]) -> None:
    """Each piece as it stands in the question, nothing of the breaks."""
    assert texts(query, "clause") == clauses


def test_a_question_without_marks_is_cut_into_overlapping_parts() -> None:
    """A third of it each, so that no language needs to be known."""
    query = "one two three four five six seven eight nine ten eleven twelve"
    assert texts(query, "span") == [
        "one two three four",
        "three four five six",
        "five six seven eight",
        "seven eight nine ten",
        "nine ten eleven twelve",
    ]


def test_a_very_short_question_is_one_window() -> None:
    """There is nothing to take apart."""
    assert [window.scale for window in question_windows("gzip a file", [], SPEC)] == ["query"]


def test_a_long_question_is_cut_into_parts_of_its_sentences() -> None:
    """At most `part_words` long, none across a sentence; clauses would be too many."""
    sentences = [f"part {n} of a story, and then more of it." for n in range(20)]
    query = " ".join(sentences)
    starts = [query.index(sentence) for sentence in sentences]
    spans = [(start, start + len(sentences[n])) for n, start in enumerate(starts)]
    windows = question_windows(query, spans, SPEC)
    assert [window.text for window in windows] == [query, *sentences]
    assert {window.scale for window in windows[1:]} == {"span"}


def test_the_windows_of_a_very_long_question_are_bounded() -> None:
    """However many words and sentences it has."""
    query = "so. " * 10_000
    sentences = [(4 * n, 4 * n + 3) for n in range(10_000)]
    spec = WindowSpec(max_windows=16)
    varied = " ".join(f"w{n}." for n in range(10_000))
    assert len(question_windows(query, sentences, spec)) <= 64
    assert len(question_windows(varied, [(0, len(varied))], spec)) <= 64


@given(st.text(alphabet=st.characters() | st.sampled_from(list(" ,.;\n")), min_size=1))
def test_the_whole_question_is_always_the_first_window(query: str) -> None:
    """Every other window is a piece of it, and no text stands twice."""
    first, *others = question_windows(query, [(0, len(query))], SPEC)
    assert (first.text, first.scale) == (query, "query")
    for window in others:
        assert window.text == " ".join(query[window.start : window.end].split())
    shown = [" ".join(window.text.split()) for window in (first, *others)]
    assert len(set(shown)) == len(shown)
