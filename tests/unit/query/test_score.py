"""The scores of hits, verdicts on aspects, and hits below a least score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.clauses import question_windows
from mrag_pipeline.domain.filters import Condition
from mrag_pipeline.domain.strategies import STRATEGIES
from mrag_pipeline.domain.verdicts import BY_CHANCE
from mrag_pipeline.errors import ConfigError, HeadsMissing
from mrag_pipeline.ports import AnySearchRequest, Ranking, TextSearchRequest
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.search import Searcher
from tests.support.query_world import QUERIES, SPEC, WORLD, World

# What chance finds here: weak from 0.392, found from 0.488 on.
CHANCE = [0.2] * 2 + [0.4]


def ask(query: str, strategy: str = "aspect", world: World = WORLD, **wanted: Any) -> Answer:
    config = {BY_CHANCE: {"cosines": CHANCE}}
    searcher = Searcher(world.index, replace(world.record, config=config), SPEC)
    [answer] = searcher.search([world.question(query, strategy, **wanted)])
    return answer


class OnlyVotes:
    """Answers the searches that vote; those that score hits by id come too late."""

    def __getattr__(self, name: str) -> Any:
        return getattr(WORLD.index, name)

    def search_within(
        self, requests: Sequence[AnySearchRequest], seconds: float
    ) -> list[Ranking | None]:
        rankings = WORLD.index.search_within(requests, seconds)
        return [
            None if request.among is not None else ranking
            for request, ranking in zip(requests, rankings, strict=True)
        ]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_score_of_a_hit_is_its_best_cosine(query: str, strategy: str) -> None:
    """Over all windows and the passages that got votes, computed here from the vectors."""
    question = WORLD.question(query, strategy, k=5)
    [answer] = WORLD.searcher().search([question])
    vectors = question.embedded.embeddings.standard
    assert answer.found
    for document in answer.found:
        passages = WORLD.made.standard[[chunk - 1 for chunk in document.hit.chunk_ids]]
        assert document.cosine == pytest.approx(float((vectors @ passages.T).max()), abs=1e-5)


@pytest.mark.parametrize("strategy", ["adaptive", "aspect", "bm25", "hybrid", "mrag"])
def test_the_words_of_a_hit_are_scored_as_full_text_search_scores_them(strategy: str) -> None:
    """BM25 of the best window and passage, whoever voted; 0 for a hit without a common word."""
    question = WORLD.question(QUERIES[1], strategy, k=20)
    [answer] = WORLD.searcher().search([question])
    lexical = WORLD.record.lexical
    assert lexical is not None
    texts = tuple(window.text for window in question.embedded.windows)
    name = str(WORLD.record.lexical_collection())
    [ranking] = WORLD.index.search([TextSearchRequest(name, texts, 60, lexical)])
    expected: dict[int, float] = {}
    for chunk, value in zip(ranking.ids.ravel().tolist(), ranking.scores.ravel(), strict=True):
        expected[chunk] = max(float(value), expected.get(chunk, 0.0))
    for document in answer.found:
        best = max(expected.get(chunk, 0.0) for chunk in document.hit.chunk_ids)
        assert document.bm25 == pytest.approx(best, rel=1e-5)


def test_a_version_without_words_has_no_word_scores() -> None:
    """None, which is not 0: nothing was compared."""
    searcher = Searcher(WORLD.index, replace(WORLD.record, lexical=None), SPEC)
    [answer] = searcher.search([WORLD.question(QUERIES[0])])
    assert {document.bm25 for document in answer.found} == {None}
    assert None not in {document.cosine for document in answer.found}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_shares_of_the_vote_of_all_hits_are_one(strategy: str) -> None:
    """With every candidate among the hits; a share is what its voters gave it of all they gave."""
    shares = [document.hit.share for document in ask(QUERIES[1], strategy, k=60).found]
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) > 0.0


@pytest.mark.parametrize("strategy", ["adaptive", "bm25"])
def test_a_question_that_wants_no_scores_finds_the_same(strategy: str) -> None:
    """Nothing is searched for them; with a least score they are needed all the same."""
    scored, plain = (ask(QUERIES[1], strategy, scores=wanted) for wanted in (True, False))
    assert plain.documents() == scored.documents()
    assert {(document.cosine, document.bm25) for document in plain.found} == {(None, None)}
    assert [aspect.text for aspect in plain.aspects] == [aspect.text for aspect in scored.aspects]
    assert {aspect.verdict for aspect in plain.aspects} == {None}
    assert None not in {d.cosine for d in ask(QUERIES[1], scores=False, min_score=-1.0).found}


def test_hits_below_the_least_score_are_left_out() -> None:
    """The others stay in their order, with the same numbers."""
    everything = ask(QUERIES[1], k=20)
    scores = sorted(document.cosine or 0.0 for document in everything.found)
    least = (scores[5] + scores[6]) / 2
    wanted = [d.row.id for d in everything.found if (d.cosine or 0.0) >= least]
    assert [d.row.id for d in ask(QUERIES[1], k=20, min_score=least).found] == wanted
    assert 0 < len(wanted) < len(everything.found)


@pytest.mark.parametrize("min_score", [-1.01, 1.5, float("nan")])
def test_a_least_score_that_no_cosine_can_be_is_refused(min_score: float) -> None:
    """The error says what is compared."""
    with pytest.raises(ConfigError, match="min_score") as told:
        ask(QUERIES[0], min_score=min_score)
    assert "cosine" in told.value.expected


def test_hits_are_shown_without_scores_if_these_come_too_late() -> None:
    """And there is no verdict: nobody knows how near anything is."""
    record = replace(WORLD.record, config={BY_CHANCE: {"cosines": CHANCE}})
    question = WORLD.question(QUERIES[1], "mrag", seconds=5.0)
    [answer] = Searcher(OnlyVotes(), record, SPEC).search([question])
    assert answer.found
    assert {(d.cosine, d.bm25, d.aspects) for d in answer.found} == {(None, None, ())}
    assert {(aspect.nearness, aspect.verdict) for aspect in answer.aspects} == {(None, None)}


def test_a_least_score_needs_scores() -> None:
    """Neither all hits nor none would be what was asked for."""
    question = WORLD.question(QUERIES[1], "mrag", seconds=5.0, min_score=0.1)
    [outcome] = WORLD.searcher(OnlyVotes()).outcomes([question])
    assert isinstance(outcome, HeadsMissing)
    assert "min_score" in outcome.expected


# ------------------------------------------------------------------ verdicts
def test_each_aspect_has_a_verdict_by_its_nearest_passage() -> None:
    """Clauses are judged beside the whole question: both vectors, the same passage."""
    query = "sheep dogs near the coast, then a hot carbon star"
    answer = ask(query, "adaptive", k=3)
    windows = question_windows(query, [(0, len(query))], SPEC.windows)
    clauses = [window for window in windows if window.scale == "clause"]
    assert [aspect.text for aspect in answer.aspects] == [window.text for window in clauses]
    made = WORLD.encoder.encode([query, *(window.text for window in clauses)], "query").standard
    kept = [n for n, chunk in enumerate(WORLD.chunks) if chunk.id not in WORLD.deleted]
    cosines = made @ WORLD.made.standard[kept].T
    for aspect, row in zip(answer.aspects, cosines[1:], strict=True):
        both = (row + cosines[0]) / 2
        top = np.argsort(-row)[:5]  # the passages nearest to the clause
        assert aspect.nearness is not None
        assert aspect.nearness >= both[top].max() - 1e-5
        assert aspect.nearness <= both.max() + 1e-5
        assert answer.levels is not None
        assert aspect.verdict == answer.levels.verdict(aspect.nearness)


def test_a_clause_that_nothing_is_near_is_an_aspect_all_the_same() -> None:
    """The vote may take its question for one about one thing; it is not hidden in the whole."""
    query = "the sheep dog of the hill and qwertz uiop asdf ghjkl"
    answer = ask(query, "adaptive", k=3)
    dog, nonsense = answer.aspects
    assert nonsense.text == "qwertz uiop asdf ghjkl"
    assert dog.nearness is not None
    assert nonsense.nearness is not None
    assert nonsense.nearness < dog.nearness


def test_without_levels_there_is_no_verdict() -> None:
    """A version of before this was measured still says how near each aspect is."""
    [answer] = WORLD.searcher().search([WORLD.question(QUERIES[1])])
    assert answer.levels is None
    assert {aspect.verdict for aspect in answer.aspects} == {None}
    assert None not in {aspect.nearness for aspect in answer.aspects}


def test_where_the_filter_leaves_nothing_there_is_nothing_here() -> None:
    """A verdict is on what the caller lets be searched."""
    answer = ask(QUERIES[0], filter=Condition("metadata.none", "exists"))
    assert [aspect.verdict for aspect in answer.aspects] == ["nothing here"]


def test_a_hit_names_the_aspects_that_its_passage_can_answer() -> None:
    """Those to which the shown passage is at least weakly near."""
    answer = ask(QUERIES[1])
    assert answer.levels is not None
    embedded = WORLD.question(QUERIES[1]).embedded
    for document in answer.found:
        vector = WORLD.made.standard[document.row.id - 1]
        for number, aspect in enumerate(embedded.aspects):
            near = max(
                float(embedded.embeddings.standard[window] @ vector) for window in aspect.windows
            )
            assert (number in document.aspects) == (near >= answer.levels.weak)
