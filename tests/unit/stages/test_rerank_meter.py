"""What an evaluation's rerankers score, and what they say that it costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery
from mrag_pipeline.ports import RerankRequest
from mrag_pipeline.settings.rerank import RerankSpec
from mrag_pipeline.stages.evaluate.finder import SharingFinder
from mrag_pipeline.stages.evaluate.rerank_meter import RerankMeter, SharedReranker
from tests.support.fake_encoder import FakeSegmenter
from tests.support.fake_reranker import FakeReranker, relevance
from tests.support.query_world import SPEC, World

QUERY = LabelledQuery("dog star sheep. carbon hammer", (Aspect(frozenset(["d1"]), "d1"),), 1)


class SlowReranker(FakeReranker):
    """Ten milliseconds a pair, on a clock of its own."""

    now = 0.0

    def scores(self, requests: Sequence[RerankRequest], seconds: float) -> list[np.ndarray]:
        type(self).now += 0.01 * sum(len(request.passages) for request in requests)
        return super().scores(requests, seconds)


def test_a_pair_is_scored_once_and_the_same() -> None:
    """Of two strategies with the same windows and documents, the second costs nothing."""
    counting = FakeReranker()
    shared = SharedReranker(counting)
    first = RerankRequest("a cat", ("a cat", "a dog", "a cat"))
    shared.scores([first], 1.0)
    again = shared.scores([RerankRequest("a cat", ("a fox", "a dog")), first], 1.0)
    assert counting.pairs() == [("a cat", "a cat"), ("a cat", "a dog"), ("a cat", "a fox")]
    assert again[0].tolist() == [relevance("a cat", "a fox"), relevance("a cat", "a dog")]
    assert again[1].tolist() == [relevance("a cat", text) for text in first.passages]
    assert shared.num_pairs == 8
    shared.forget()
    shared.scores([first], 1.0)
    assert len(counting.pairs()) == 5


def test_a_cost_is_the_pairs_of_a_question_by_the_time_of_one(monkeypatch: object) -> None:
    """Whether they were scored for this strategy or known from another."""
    reranker = SlowReranker()
    meter = RerankMeter(reranker)
    clock = "mrag_pipeline.stages.evaluate.rerank_meter.time.perf_counter"
    monkeypatch.setattr(clock, lambda: SlowReranker.now)  # type: ignore[attr-defined]
    meter.scores([RerankRequest("q", ("a", "b", "c"))], 1.0)
    meter.count("standard", 2)
    meter.count("standard", 4)
    meter.count("aspect", 1)
    assert {name: (cost.pairs, cost.ms) for name, cost in meter.costs().items()} == {
        "standard": (3.0, 30.0),
        "aspect": (1.0, 10.0),
    }


def test_nothing_scored_costs_nothing() -> None:
    """A set whose questions find nothing."""
    assert RerankMeter(FakeReranker()).costs() == {}


def test_a_finder_reranks_when_it_is_asked_to() -> None:
    """And counts what that strategy's answer needs; without, the reranker is not asked."""
    world, reranker = World(), FakeReranker()
    meter = RerankMeter(reranker)
    finder = SharingFinder(
        *(world.encoder, FakeSegmenter(), world.index, world.record),
        *(SPEC, meter, RerankSpec(model="fake", documents=7)),
    )
    plain = finder.find(QUERY, "hybrid", 5)
    assert reranker.asked == []
    reranked = finder.find(QUERY, "hybrid", 5, rerank=True)
    assert len(reranked) == len(plain) == 5
    assert meter.costs()["hybrid"].pairs == len(reranker.pairs()) == 7
