"""The gate: which versions it compares, what it writes, and how both versions are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrag_pipeline.domain.gate import GateComparison, Verdict
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.settings.gate import GateSpec
from mrag_pipeline.stages.ingest.gate import compare_versions, gate
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.publish import publish
from mrag_pipeline.stages.ingest.reconcile import StagedCounts
from tests.support.builds import Build, RecordingProgress, a_document


@dataclass
class Scripted:
    """A version with a scripted answer to each query."""

    answers: dict[str, list[str]]

    def retrieve(
        self, query: str, k: int = 10, strategy: str = "", *, scores: bool = True
    ) -> Scripted:
        assert not scores
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
    comparison = compare_versions(live, new, queries, GateSpec(overlap_k=2), RecordingProgress())
    # live: 1 and 2/2; new: 0 and 1/2. New finds 2, then 1, of live's two documents again.
    assert comparison == GateComparison(2, 1.0, 0.25, 0.75)


def test_an_empty_live_answer_is_no_loss() -> None:
    """Nothing was found before, so nothing can be missing."""
    comparison = compare_versions(
        Scripted({"one": []}),
        Scripted({"one": ["a"]}),
        labelled(one=["a"]),
        GateSpec(),
        RecordingProgress(),
    )
    assert comparison == GateComparison(1, 0.0, 1.0, 1.0)


def loaded(index: ExactIndex, num_documents: int) -> tuple[Manifest, StagedCounts]:
    """A version in the index that is not live; another number of documents is another version."""
    build = Build([a_document(i) for i in range(num_documents)])
    build.reader.stamp = f"of {num_documents}"
    manifest, staged = build.staged()
    load(manifest, build.staging, index, staged.num_chunks, RecordingProgress())
    return manifest, staged


def run_gate(
    build: tuple[Manifest, StagedCounts],
    index: ExactIndex,
    spec: GateSpec,
    open_version: Callable[[VersionRecord], Scripted] | None = None,
) -> Verdict:
    def opens_none(record: VersionRecord) -> Scripted:
        pytest.fail(f"{record.version} was opened without a query to search")

    def read_queries(path: Path) -> LabelledSet:
        assert path == Path("queries.jsonl")
        return labelled(one=["a"])

    opener = open_version or opens_none
    return gate(*build, [], index, spec, read_queries, opener, RecordingProgress())


@pytest.mark.parametrize("is_live", [False, True])
def test_without_another_live_version_the_gate_is_open(is_live: bool) -> None:
    """The first version, and the live one built again, are compared with nothing."""
    index = ExactIndex("docs")
    build = loaded(index, 4)
    if is_live:
        publish(*build, index)
    before = [record.to_json() for record in index.records()]
    assert run_gate(build, index, GateSpec(queries="queries.jsonl")) == Verdict(4, 0, (), ())
    assert [record.to_json() for record in index.records()] == before


def test_a_rejected_version_keeps_its_record_and_the_live_one_stays() -> None:
    """Its record makes it possible to inspect it, or to activate it by name."""
    index = ExactIndex("docs")
    live = publish(*loaded(index, 8), index)
    smaller = loaded(index, 4)
    verdict = run_gate(smaller, index, GateSpec(queries="", max_fewer_documents=0.1))
    assert not verdict.is_open
    assert (verdict.new_documents, verdict.live_documents, verdict.comparisons) == (4, 8, ())
    assert index.live() == live.version
    assert index.record(smaller[0].version) is not None


def test_the_configured_queries_are_searched_in_both_versions() -> None:
    """Each version is opened by its own record."""
    index = ExactIndex("docs")
    live = publish(*loaded(index, 4), index)
    new = loaded(index, 5)

    def open_version(record: VersionRecord) -> Scripted:
        answers = {live.version: ["a"], new[0].version: ["x"]}
        return Scripted({"one": answers[record.version]})

    spec = GateSpec(queries="queries.jsonl", overlap_k=1)
    verdict = run_gate(new, index, spec, open_version)
    assert verdict.comparisons == (GateComparison(1, 1.0, 0.0, 0.0),)
    assert not verdict.is_open
