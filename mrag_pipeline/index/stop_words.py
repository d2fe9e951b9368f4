"""The words of a language that say nothing alone ("the", "what"), from the lists of bm25s.

bm25s carries NLTK's and stopwords-iso's short lists of function words; larger lists also hold
words that a question can be about ("computer", "system").
"""

from __future__ import annotations

from functools import lru_cache

# Language of a Snowball stemmer: name in bm25s.
_LISTS = {
    "danish": "DANISH",
    "dutch": "DUTCH",
    "english": "EN_PLUS",
    "french": "FRENCH",
    "german": "GERMAN",
    "italian": "ITALIAN",
    "norwegian": "NORWEGIAN",
    "porter": "EN_PLUS",
    "portuguese": "PORTUGUESE",
    "russian": "RUSSIAN",
    "spanish": "SPANISH",
    "swedish": "SWEDISH",
    "turkish": "TURKISH",
}


@lru_cache
def stop_words(language: str) -> frozenset[str]:
    """The stop words of a language, in lower case; none for a language without a list."""
    if language not in _LISTS:
        return frozenset()
    from bm25s import stopwords  # half a second: with the first question, not with the program

    words: tuple[str, ...] = getattr(stopwords, f"STOPWORDS_{_LISTS[language]}")
    return frozenset(word.lower() for word in words)
