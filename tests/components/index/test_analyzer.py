"""The words that a store is given."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.index.analyzer import LexicalAnalyzer, analyzer_of
from mrag_pipeline.settings.lexical import LexicalSpec


def test_words_lose_their_endings() -> None:
    """By Snowball's rules of the language; words of others and numbers stay."""
    analyzer = analyzer_of(LexicalSpec(language="english"))
    assert analyzer.passage("Files", "Reading readCsv 2024") == "file read readcsv read csv 2024"
    assert analyzer.question("files that were read?") == "file read"


def test_questions_lose_the_stop_words_of_their_language() -> None:
    """Passages keep them; a language without a list loses none."""
    assert analyzer_of(LexicalSpec(language="english")).passage("", "that were") == "that were"
    assert analyzer_of(LexicalSpec(language="english")).question("What is it?") == "what is it"
    assert analyzer_of(LexicalSpec(language="german")).question("Was ist das Haus?") == "haus"
    assert analyzer_of(LexicalSpec(language="")).question("what is a file") == "what is a file"


def test_without_a_language_words_stay() -> None:
    """Whatever it is."""
    assert analyzer_of(LexicalSpec(language="")).question("Files reading") == "files reading"


def test_an_unknown_language_is_refused_with_the_known_ones() -> None:
    """Before anything is stored."""
    with pytest.raises(ConfigError, match="klingon") as refused:
        LexicalAnalyzer(LexicalSpec(language="klingon"))
    assert "english" in refused.value.expected


def test_a_passage_is_bounded_in_bytes() -> None:
    """No word is cut in two, and what is stored fits a store's string."""
    stored = analyzer_of(LexicalSpec(language="")).passage("", "wörd " * 20_000)
    assert 64_990 < len(stored.encode()) <= 65_000
    assert set(stored.split()) == {"wörd"}


def test_threads_may_share_it() -> None:
    """A stemmer keeps the word that it works on; the analyzer lets one at a time use it."""
    analyzer = analyzer_of(LexicalSpec(language="english"))
    texts = [f"running number{n}s" for n in range(200)]
    alone = [analyzer.question(text) for text in texts]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(analyzer.question, texts)) == alone
