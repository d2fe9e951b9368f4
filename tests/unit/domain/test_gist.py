"""Sentences, phrases and weights of documents, by words alone."""

from __future__ import annotations

import pytest

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.gist import (
    GistSample,
    clause,
    key_phrases,
    likeness,
    sentences_of,
    words_of,
)

FILLER = "The people of a town said so."


def sample(*texts: str) -> GistSample:
    """The texts, and twenty documents of other words that all share the filler's."""
    others = [
        f"{FILLER} Number{n} knows nothing of item{n} and thing{n} at all." for n in range(20)
    ]
    texts = tuple(f"{FILLER} {text}" for text in texts)
    return GistSample([Document(f"d{n}", text) for n, text in enumerate([*texts, *others])])


def test_a_word_that_many_documents_share_weighs_nothing() -> None:
    """No list of stop words: the sample tells which words say nothing of a document."""
    gist = sample("A glacier calves into the bay.").gists[0]
    assert "glacier" in gist.weights
    assert not {"the", "people", "of"} & set(gist.weights)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "Mr. J. Smith sold the old bakery. Nobody bought it for many years!",
            ["Mr. J. Smith sold the old bakery", "Nobody bought it for many years"],
        ),
        ("flow past a blunt body is slow . it was measured in a tunnel .", 2),
        ("Too short. def f(x): return {x[0]: (1, 2, 3), 4: [5, 6]} + {7: 8}, 9", []),
        ("河流从山上流下来经过城市。城市里的人们都喜欢看河流。", 2),
    ],
)
def test_sentences_are_prose_of_some_length(text: str, sentences: list[str] | int) -> None:
    """Initials end no sentence; fragments and code are none."""
    found = sentences_of(text)
    assert (len(found) if isinstance(sentences, int) else found) == sentences


def test_a_clause_is_the_heaviest_run_and_ends_with_words_that_weigh() -> None:
    """Common words at its ends are left out."""
    weights = {"glacier": 2.0, "calves": 1.0, "bay": 1.0, "town": 0.1}
    text = "In the town they say that the glacier calves into the bay of a river."
    assert clause(text, weights, 6) == "glacier calves into the bay"
    assert clause("they say so", weights, 6) == ""


def test_a_long_identifier_is_one_word() -> None:
    """Windows cut it; a question must not name half of it."""
    text = "xml.etree.ElementTree.XMLPullParser.close() ends it"
    assert [word.key for word in words_of(text)] == [
        "xml.etree.elementtree.xmlpullparser.close",
        "ends",
        "it",
    ]


def test_key_phrases_hold_no_avoided_word_and_share_none() -> None:
    """So a subject can be named without its title."""
    gist = sample("A tidewater glacier calves ice into the deep bay every summer.").gists[0]
    phrases = key_phrases(gist, {"glacier"})
    words = [
        word.key for phrase in phrases for word in words_of(phrase) if word.key in gist.weights
    ]
    assert phrases
    assert len(words) == len(set(words))
    assert "glacier" not in words


def test_companions_are_words_of_the_same_documents() -> None:
    """`ice` goes with `glacier` in two documents; one alone proves nothing."""
    made = sample("A glacier of ice.", "The glacier, of ice.", "A glacier of moss.")
    assert made.companion("glacier", ()) == "ice"
    assert made.companion("glacier", {"ice"}) is None
    assert made.companion("moss", ()) is None


def test_copies_are_alike_and_strangers_are_not() -> None:
    """By the heaviest words of each."""
    text = "A tidewater glacier calves ice into the deep bay every summer."
    copy, other, stranger = sample(text, text, "Bakers knead rye dough before dawn.").gists[:3]
    assert likeness(copy, other) == pytest.approx(1.0)
    assert likeness(copy, stranger) == 0.0
