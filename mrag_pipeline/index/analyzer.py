"""Texts to the words that full-text search compares, the endings of a language cut by Snowball."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from threading import Lock

import snowballstemmer

from mrag_pipeline.domain.lexical import Stem, lexical_query, lexical_text
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.index.stop_words import stop_words
from mrag_pipeline.ports import ChunkRow, CollectionSpec
from mrag_pipeline.settings.lexical import LexicalSpec

_MAX_BYTES = 65_000  # of one passage's words: stores bound a string at 65,535 bytes
_REMEMBERED_WORDS = 100_000  # stems of one language: texts repeat their words


class LexicalAnalyzer:
    """The same words for passages and for questions; safe to share by threads."""

    def __init__(self, spec: LexicalSpec) -> None:
        """Ready.

        Raises: ConfigError for a language that has no stemmer.
        """
        self.spec = spec
        self._stem = _stemmer(spec.language) if spec.language else None

    def passage(self, title: str, text: str) -> str:
        """A passage's words, its document's title first, joined by spaces."""
        return _bounded(lexical_text(title, text, self.spec, self._stem))

    def question(self, text: str) -> str:
        """A question's words joined by spaces; empty if it has none."""
        ignored = stop_words(self.spec.language)
        return _bounded(lexical_query(text, self.spec, self._stem, ignored))


@lru_cache
def analyzer_of(spec: LexicalSpec) -> LexicalAnalyzer:
    """The analyzer of that spec; the same one for the same spec.

    Raises: ConfigError for a language that has no stemmer.
    """
    return LexicalAnalyzer(spec)


def check_analyzers(collections: Iterable[CollectionSpec]) -> None:
    """Refuses lexical collections whose words could not be made.

    Raises: ConfigError for a language that has no stemmer.
    """
    for collection in collections:
        if collection.lexical is not None:
            analyzer_of(collection.lexical)


def _bounded(words: str) -> str:
    """At most `_MAX_BYTES` of UTF-8, no word cut in two: later words are not counted."""
    encoded = words.encode()
    if len(encoded) <= _MAX_BYTES:
        return words
    return encoded[:_MAX_BYTES].decode("utf-8", "ignore").rpartition(" ")[0]


def stale_ids(
    stored: Mapping[int, str], chunks: Sequence[ChunkRow], spec: LexicalSpec
) -> list[int]:
    """The ids of the chunks whose words are not stored, or are other ones.

    Args:
        stored: words by chunk id.
    """
    analyzer = analyzer_of(spec)
    return [row.id for row in chunks if stored.get(row.id) != analyzer.passage(row.title, row.text)]


def check_language(language: str) -> None:
    """Refuses a language that cannot be stemmed; an empty one means no stemming.

    Raises: ConfigError.
    """
    if language and language not in snowballstemmer.algorithms():
        raise ConfigError(
            f"lexical.language = {language!r}",
            f"one of {', '.join(sorted(snowballstemmer.algorithms()))}, or empty",
            "correct `lexical.language` in the config; empty leaves words as they are",
        )


@lru_cache
def _stemmer(language: str) -> Stem:
    check_language(language)
    stemmer = snowballstemmer.stemmer(language)
    lock = Lock()  # a stemmer keeps the word that it works on

    @lru_cache(_REMEMBERED_WORDS)
    def stem(word: str) -> str:
        with lock:
            return str(stemmer.stemWord(word))

    return stem
