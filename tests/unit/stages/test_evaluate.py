from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from mrag_pipeline.domain.evaluation import Evaluation, Example, WindowVote
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import IndexBusy
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import ChunkRow
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.stages.evaluate.evaluate import evaluate
from mrag_pipeline.stages.evaluate.rerank_meter import RerankMeter
from tests.support.builds import RecordingProgress
from tests.support.fake_encoder import FakeEncoder
from tests.support.fake_reranker import FakeReranker

ONE = LabelledQuery("one", (Aspect(frozenset("a"), "a"),), 1)
TWO = LabelledQuery("two", (Aspect(frozenset("b"), "b"), Aspect(frozenset("c"), "c")), 2)
LABELLED = LabelledSet("toy", (ONE, TWO), "any")
FOUND = {
    ("one", "standard"): ["x", "x", "a"],
    ("two", "standard"): ["b", "b", "x"],
    ("one", "aspect"): ["a"],
    ("two", "aspect"): ["b", "c"],
}


class ScriptedFinder:
    """Returns the documents of `FOUND`, and a fixed example; records the calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def find(
        self, query: LabelledQuery, strategy: str, k: int, *, rerank: bool = False
    ) -> Sequence[str]:
        self.calls.append(f"{query.text} {strategy} {k}{' reranked' if rerank else ''}")
        return FOUND[query.text, strategy][:: -1 if rerank else 1]

    def example(self, query: LabelledQuery, strategy: str, k: int) -> Example:
        return Example(query.text, strategy, ("h",), (WindowVote("w", (1.0,)),), ("b",))

    def forget(self) -> None:
        self.calls.append("forget")


class IndexOf(ExactIndex):
    """Contains the given documents; records which are looked up."""

    def __init__(self, *documents: str) -> None:
        super().__init__("toy")
        self._documents = documents
        self.looked_up: list[str] = []

    def chunks_of_document(self, collection: str, document_id: str) -> list[ChunkRow]:
        self.looked_up.append(document_id)
        return [ChunkRow(1, document_id, 0, 0, 1, "", "", {})] * (document_id in self._documents)


def record() -> VersionRecord:
    card = FakeEncoder(num_heads=2, head_dim=3).card
    sums = ImportanceSums.of(np.random.default_rng(0).normal(size=(5, 2, 3)))
    return VersionRecord("toy", "v0", "", card, ChunkingSpec(), sums, 4, 5, 0, "2026", "toy.jsonl")


def run(
    finder: ScriptedFinder,
    index: ExactIndex,
    progress: RecordingProgress,
    labelled: LabelledSet = LABELLED,
) -> Evaluation:
    strategies, baselines = ("standard", "aspect"), ("standard",)
    ks = ("n", "40")
    return evaluate(lambda: finder, labelled, strategies, ks, baselines, record(), index, progress)


def test_every_strategy_searches_a_query_before_its_work_is_forgotten() -> None:
    """Strategies share work, and nothing is kept longer than one query."""
    finders: list[ScriptedFinder] = []
    progress = RecordingProgress()

    def open_finder() -> ScriptedFinder:
        finders.append(ScriptedFinder())
        return finders[-1]

    evaluate(
        open_finder,
        *(LABELLED, ("standard", "aspect"), ("n", "40"), ("standard",)),
        *(record(), IndexOf("c"), progress),
    )
    calls = " / ".join(call for finder in finders for call in finder.calls)
    assert "one standard 40 / one aspect 40 / forget" in calls
    assert "two standard 40 / two aspect 40 / forget" in calls
    assert calls.count("40") == 4
    assert progress.phases == [("evaluate", 2, "queries")]
    assert progress.done == {"evaluate": 2}


def test_an_error_ends_the_evaluation_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remaining queries are not searched: only the one that each thread has begun."""
    is_cancelled = Event()

    class Announcing(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            is_cancelled.set()
            super().shutdown(wait=wait)

    class Broken(ScriptedFinder):
        def find(
            self, query: LabelledQuery, strategy: str, k: int, *, rerank: bool = False
        ) -> Sequence[str]:
            super().find(query, strategy, k)
            if query is not ONE:
                assert is_cancelled.wait(30)
            raise IndexBusy("held by another process")

    monkeypatch.setattr("mrag_pipeline.stages.evaluate.evaluate.ThreadPoolExecutor", Announcing)
    finder = Broken()
    many = LabelledSet("toy", (ONE, *(TWO,) * 499), "any")
    with pytest.raises(IndexBusy):
        run(finder, IndexOf(), RecordingProgress(), many)
    assert len(finder.calls) - finder.calls.count("forget") <= 3


def test_documents_count_once_however_many_chunks_are_found() -> None:
    """At k = n documents count: `a` is second under standard, so at k = 1 it is not found."""
    evaluation = run(ScriptedFinder(), IndexOf("c"), RecordingProgress())
    figure = evaluation.figure("standard", "success_ratio", "n")
    assert figure is not None
    assert dict(figure.by_aspects) == {1: 0.0, 2: 0.5}
    assert evaluation.curves["standard"][2] == 0.75


def test_without_a_reranker_nothing_is_reranked() -> None:
    """No figure of it, and no search."""
    finder = ScriptedFinder()
    evaluation = run(finder, IndexOf("c"), RecordingProgress())
    assert evaluation.reranking is None
    assert not any("reranked" in call for call in finder.calls)


def test_with_a_reranker_every_strategy_is_measured_both_ways() -> None:
    """With the paired difference to itself: reversed, standard finds `a` first and `b` last."""
    finder = ScriptedFinder()
    evaluation = evaluate(
        lambda: finder,
        *(LABELLED, ("standard", "aspect"), ("n", "40"), ("standard",)),
        *(record(), IndexOf("c"), RecordingProgress(), RerankMeter(FakeReranker())),
    )
    gain = evaluation.reranking
    assert gain is not None
    assert gain.reranker == "fake-reranker"
    figure = gain.figure("standard", "success_ratio", "n")
    plain = evaluation.figure("standard", "success_ratio", "n")
    assert figure is not None
    assert plain is not None
    assert (plain.mean.value, figure.mean.value) == (0.25, 0.75)
    difference = figure.against("standard")
    assert difference is not None
    assert difference.interval.value == 0.5
    assert "one aspect 40 / one standard 40 reranked" in " / ".join(finder.calls)
    assert {own.strategy for own in gain.figures} == {"standard", "aspect"}
    assert evaluation.figure("standard reranked", "success_ratio", "n") is None


def test_the_version_and_the_set_are_reported() -> None:
    """A figure means nothing without what it was measured on."""
    evaluation = run(ScriptedFinder(), IndexOf("c"), RecordingProgress())
    subject = evaluation.subject
    assert (subject.data_set, subject.version, subject.model) == ("toy", "v0", "fake")
    assert (subject.num_documents, subject.num_chunks) == (4, 5)
    assert dict(subject.queries_by_aspects) == {1: 1, 2: 1}
    assert list(evaluation.importance) == ["l00_h00", "l00_h01"]
    assert [example.strategy for example in evaluation.examples] == ["aspect"]


def test_relevant_documents_missing_from_the_index_are_reported_and_counted() -> None:
    """Only documents that no strategy found are looked up."""
    labelled = LabelledSet("toy", (ONE, LabelledQuery("two", (*TWO.aspects, *LOST), 4)), "any")
    index = IndexOf("a", "b", "c", "hidden")
    evaluation = run(ScriptedFinder(), index, RecordingProgress(), labelled)
    [flaw] = evaluation.subject.flaws
    assert (flaw.count, flaw.examples) == (1, ("lost",))
    assert sorted(index.looked_up) == ["hidden", "lost"]
    figure = evaluation.figure("aspect", "success_ratio", "n")
    assert figure is not None
    assert figure.by_aspects[4] == 0.5


LOST = (Aspect(frozenset(["lost"]), "lost"), Aspect(frozenset(["hidden"]), "hidden"))
