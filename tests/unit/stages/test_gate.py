"""Labelled queries asked of two versions."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.domain.gate import GateComparison
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet
from mrag_pipeline.settings.gate import GateSpec
from mrag_pipeline.stages.ingest.gate import compare_versions
from tests.support.builds import RecordingProgress


@dataclass
class Scripted:
    """A version that answers what it was told to."""

    answers: dict[str, list[str]]

    def retrieve(self, query: str, k: int = 10, strategy: str = "") -> Scripted:
        self.query, self.k = query, k
        return self

    def documents(self) -> list[str]:
        return self.answers[self.query][: self.k]


def labelled(**aspects: list[str]) -> LabelledSet:
    queries = [
        LabelledQuery(text, tuple(Aspect(frozenset({d})) for d in wanted), len(wanted))
        for text, wanted in aspects.items()
    ]
    return LabelledSet("two", tuple(queries), "any")


def test_both_versions_are_scored_on_the_same_queries() -> None:
    """One query of one aspect, one of two; as many documents count as there are aspects."""
    queries = labelled(one=["a"], two=["b", "c"])
    live = Scripted({"one": ["a", "x"], "two": ["b", "c"]})
    new = Scripted({"one": ["x", "a"], "two": ["b", "y", "c"]})
    found = compare_versions(live, new, queries, GateSpec(overlap_k=2), RecordingProgress())
    # live: 1 and 2/2; new: 0 and 1/2. Of live's two documents new finds 2 and 1 again.
    assert found == GateComparison(2, 1.0, 0.25, 0.75)


def test_an_empty_live_answer_is_no_loss() -> None:
    """Nothing was found before, so nothing can be missing."""
    found = compare_versions(
        Scripted({"one": []}),
        Scripted({"one": ["a"]}),
        labelled(one=["a"]),
        GateSpec(),
        RecordingProgress(),
    )
    assert found == GateComparison(1, 0.0, 1.0, 1.0)
