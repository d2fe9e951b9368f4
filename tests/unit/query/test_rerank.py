"""Documents found are put into a reranker's order, over a fake encoder and exact search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.filters import Condition
from mrag_pipeline.domain.strategies import STRATEGIES
from mrag_pipeline.errors import (
    MragError,
    NotConfigured,
    OutOfTime,
    RerankerRefused,
    RerankerUnavailable,
)
from mrag_pipeline.ports import RerankRequest
from mrag_pipeline.query.rerank import Reranking
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.rerank import RerankSpec
from tests.support.fake_encoder import FakeSegmenter
from tests.support.fake_reranker import FakeReranker, relevance
from tests.support.query_world import SPEC, World

TWO_SUBJECTS = "dogs guard sheep, giant star"
DOGS = [
    "dogs guard sheep",
    "guard dogs of sheep",
    "sheep and guard dogs",
    "dogs guard the sheep",
    "these dogs guard sheep",
]
STARS = ["a giant star", "star of a giant"]
OTHERS = ["cake of the night", "reed flute on the river", "a sword of steel"]


def world_of(texts: dict[str, Sequence[str]]) -> World:
    """A world whose documents have these passages."""
    passages = [
        (document, place, text)
        for document, of_document in texts.items()
        for place, text in enumerate(of_document)
    ]
    chunks = [
        Chunk(number, document, place, 0, len(text), text, document.upper(), {"shelf": "a"}, "")
        for number, (document, place, text) in enumerate(passages, 1)
    ]
    return World(chunks=chunks)


WORLD = world_of(
    {
        **{f"dog{number}": [text] for number, text in enumerate(DOGS)},
        **{f"star{number}": [text] for number, text in enumerate(STARS)},
        **{f"other{number}": [text] for number, text in enumerate(OTHERS)},
    }
)


def retriever(reranker: FakeReranker | None, world: World = WORLD, **changes: object) -> Retriever:
    spec = replace(RerankSpec(model="fake"), **changes)  # type: ignore[arg-type]
    reranking = None if reranker is None else Reranking(reranker, spec)
    return Retriever(world.encoder, FakeSegmenter(), world.index, world.record, SPEC, reranking)


def test_a_question_of_one_subject_is_ordered_by_its_scores() -> None:
    """Every document found is read with the whole question; the order is the reranker's."""
    reranker = FakeReranker()
    answer = retriever(reranker).retrieve("giant star", 4, "hybrid")
    scores = [relevance("giant star", text) for _, text in reranker.pairs()]
    assert [document.rerank_score for document in answer.found] == sorted(scores)[::-1][:4]
    assert {query for query, _ in reranker.pairs()} == {"giant star"}
    assert answer.documents()[:2] == ["star0", "star1"]
    assert answer.reranker == "fake-reranker"
    assert answer.warnings == ()
    assert answer.seconds["rerank"] > 0


@pytest.mark.parametrize("strategy", ["adaptive", "aspect", "hybrid-windows"])
def test_a_question_of_two_subjects_keeps_both_on_top(strategy: str) -> None:
    """Read against the whole question, all dogs come before any star: that is what is avoided."""
    texts = {f"dog{number}": text for number, text in enumerate(DOGS)}
    texts |= {f"star{number}": text for number, text in enumerate(STARS)}
    plain = sorted(texts, key=lambda name: -relevance(TWO_SUBJECTS, texts[name]))
    assert [name[:3] for name in plain[:5]] == ["dog"] * 5
    answer = retriever(FakeReranker()).retrieve(TWO_SUBJECTS, 2, strategy)
    assert len({document.rerank_window for document in answer.found}) == 2
    assert {name.rstrip("0123456789") for name in answer.documents()} == {"dog", "star"}


def test_a_document_is_scored_by_the_passage_that_the_window_found() -> None:
    """And shown by it: a long document answers two windows with two passages."""
    world = world_of(
        {
            "both": ["dogs guard sheep at night", "a giant star of carbon"],
            "cake": ["butter cake"],
            "reed": ["reed flute of the river"],
        }
    )
    reranker = FakeReranker()
    answer = retriever(reranker, world).retrieve(
        "dogs guard sheep. giant star", 3, "aspect", windows=("dogs guard sheep", "giant star")
    )
    pairs = reranker.pairs()
    assert ("giant star", "BOTH\na giant star of carbon") in pairs
    assert ("dogs guard sheep", "BOTH\ndogs guard sheep at night") in pairs
    first = answer.found[0]
    assert first.hit.document_id == "both"
    assert first.row.id == first.hit.chunk_ids[0]
    assert first.rerank_window is not None
    window = answer.windows[first.rerank_window].text
    assert first.rerank_score == relevance(window, f"BOTH\n{first.row.text}")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_is_reranked(strategy: str) -> None:
    """K documents, each once, what was rescored first; votes and shapes stay the vote's."""
    answer = retriever(FakeReranker()).retrieve(
        TWO_SUBJECTS, 6, strategy, ("dogs guard sheep", "giant star")
    )
    assert len(set(answer.documents())) == len(answer.found) == 6
    for document in answer.found:
        assert document.row.id == document.hit.chunk_ids[0]
        assert document.row.document_id == document.hit.document_id
        assert document.hit.parts.shape == (len(answer.voters), len(answer.windows))
        assert document.passages == ()


def test_documents_that_were_not_rescored_follow_in_the_votes_order() -> None:
    """Nothing that the vote found is lost."""
    voted = retriever(None).retrieve("giant star", 9, "hybrid").documents()
    answer = retriever(FakeReranker(), documents=3).retrieve("giant star", 9, "hybrid")
    assert sorted(answer.documents()) == sorted(voted)
    assert answer.documents()[3:] == [name for name in voted if name not in answer.documents()[:3]]
    assert [document.rerank_score is None for document in answer.found] == [False] * 3 + [True] * 6


def test_no_more_is_scored_than_the_setting_says() -> None:
    """rerank.documents, over all windows of the question."""
    reranker = FakeReranker()
    retriever(reranker, documents=5).retrieve(TWO_SUBJECTS, 3, "aspect")
    assert 0 < len(reranker.pairs()) <= 5


def test_a_filter_holds_for_reranked_documents() -> None:
    """No other document is scored or shown."""
    reranker = FakeReranker()
    wanted = Condition("title", "prefix", "STAR")
    answer = retriever(reranker).retrieve("dogs guard sheep", 9, "adaptive", filter=wanted)
    assert sorted(answer.documents()) == ["star0", "star1"]
    assert all(text.startswith("STAR") for _, text in reranker.pairs())


def test_an_answer_without_documents_asks_nothing() -> None:
    """There is nothing to rescore."""
    reranker = FakeReranker()
    nothing = Condition("title", "eq", "none such")
    assert retriever(reranker).retrieve("dogs", 3, "adaptive", filter=nothing).found == ()
    assert reranker.asked == []


# ------------------------------------------------------------------ on and off
def test_a_query_can_do_without_the_reranker() -> None:
    """The answer is the one that a retriever without a reranker gives."""
    reranker = FakeReranker()
    answer = retriever(reranker).retrieve("giant star", 4, "hybrid", rerank=False)
    plain = retriever(None).retrieve("giant star", 4, "hybrid")
    assert (answer.documents(), answer.reranker) == (plain.documents(), "")
    assert reranker.asked == []


def test_reranking_without_a_reranker_is_refused() -> None:
    """Before anything is searched; the error names the settings."""
    with pytest.raises(NotConfigured, match="no reranker") as caught:
        retriever(None).retrieve("giant star", rerank=True)
    assert "[rerank]" in caught.value.fix


# ------------------------------------------------------------------ a reranker that fails
FAILURES = [
    RerankerUnavailable("no scores from http://10.0.0.7/rerank: status 503"),
    RerankerRefused("http://10.0.0.7/rerank returned <html>"),
    OutOfTime("http://10.0.0.7/rerank did not answer within 10 s"),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_reranker_that_fails_leaves_the_votes_order_and_a_warning(
    error: MragError, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is told that, and not where the reranker is; the log has both."""
    answer = retriever(FakeReranker(error)).retrieve("giant star", 4, "hybrid")
    plain = retriever(None).retrieve("giant star", 4, "hybrid")
    assert (answer.documents(), answer.reranker) == (plain.documents(), "")
    [warning] = answer.warnings
    assert "not reranked" in warning
    assert "order of the vote" in warning
    assert "10.0.0.7" not in warning
    assert "10.0.0.7" in caplog.text


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_with_on_error_fail_its_error_is_the_answers(error: MragError) -> None:
    """For those who would rather have none than one in another order."""
    with pytest.raises(type(error)):
        retriever(FakeReranker(error), on_error="fail").retrieve("giant star", 4)


class Timed(FakeReranker):
    """Remembers the time it was given."""

    seconds = 0.0

    def scores(self, requests: Sequence[RerankRequest], seconds: float) -> list[np.ndarray]:
        self.seconds = seconds
        return super().scores(requests, seconds)


@pytest.mark.parametrize(("given", "expected"), [(None, 10.0), (99.0, 10.0), (2.5, 2.5)])
def test_the_reranker_gets_the_time_that_is_left(given: float | None, expected: float) -> None:
    """At most rerank.timeout_s."""
    reranker = Timed()
    found = retriever(None).retrieve("giant star", 4, "hybrid")
    asked = replace(
        found,
        found=tuple(
            replace(document, passages=(document.row,) * len(found.windows))
            for document in found.found
        ),
    )
    Reranking(reranker, RerankSpec(model="fake")).rerank(asked, 4, given)
    assert reranker.seconds == expected


def test_a_deleted_passage_is_never_scored() -> None:
    """Heads may still have its vectors; its row is gone."""
    world, reranker = World(), FakeReranker()
    gone = {chunk.text for chunk in world.chunks if chunk.id in world.deleted}
    gone -= {chunk.text for chunk in world.chunks if chunk.id not in world.deleted}
    queries = " ".join(sorted(gone))
    assert retriever(reranker, world).retrieve(queries, 20, "aspect").found
    assert gone.isdisjoint(text.split("\n")[-1] for _, text in reranker.pairs())
