"""Splits texts into the words that BM25 counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.lexical import lexical_query, lexical_text, words_of
from mrag_pipeline.settings.lexical import LexicalSpec

SPEC = LexicalSpec()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The quick, brown fox!", "the quick brown fox"),
        ("don't e-mail", "don t e mail"),
        ("csv.DictReader", "csv dictreader dict reader"),
        ("read_csv(path)", "readcsv read csv path"),
        ("HTTPServer2", "httpserver2 http server 2"),
        ("Straße ÉCOLE", "straße école"),
        ("ﬁle", "file"),  # a ligature
        ("東京都", "東京 京都"),
        ("東", "東"),
        ("Python入門", "python 入門"),
        ("__init__", "init"),
        ("... — !?", ""),
    ],
)
def test_a_text_is_its_words(text: str, words: str) -> None:
    """Lower case, split at punctuation; identifiers give their parts, unspaced scripts pairs."""
    assert " ".join(words_of(text, SPEC)) == words


def test_identifiers_may_stay_whole() -> None:
    """Without `identifiers` a word has no parts."""
    spec = LexicalSpec(identifiers=False)
    assert list(words_of("read_csv DictReader", spec)) == ["readcsv", "dictreader"]


def test_words_lose_their_endings_where_a_stemmer_is_given() -> None:
    """Parts of identifiers too, in passages and in questions alike."""
    stem = lambda word: word.removesuffix("s")  # noqa: E731
    assert lexical_text("Files", "open_files", SPEC, stem) == "file openfile open file"
    assert lexical_query("Files?", SPEC, stem) == "file"


def test_questions_lose_their_stop_words() -> None:
    """Before endings are cut, passages keep theirs, and a question of nothing else is searched."""
    stem = lambda word: word.removesuffix("s")  # noqa: E731
    stop_words = {"does", "the", "it"}
    assert lexical_query("What does it open?", SPEC, stem, stop_words) == "what open"
    assert lexical_query("its Doe", SPEC, stem, stop_words) == "it doe"
    assert lexical_query("Does it?", SPEC, stem, stop_words) == "doe it"


def test_the_title_counts() -> None:
    """A passage is found by its document's title."""
    assert lexical_text("gzip", "Read a file.", SPEC) == "gzip read a file"


@given(st.text())
def test_words_need_no_further_analysis(text: str) -> None:
    """What is stored splits at spaces into the same words, all in lower case."""
    words = list(words_of(text, SPEC))
    assert lexical_query(text, SPEC).split(" ") == (words or [""])
    assert all(word and word == word.lower() and "_" not in word for word in words)
