"""The gate without labelled queries: the questions that both versions are asked are made."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mrag_pipeline.domain.documents import Document, text_hash
from mrag_pipeline.domain.gate import Verdict
from mrag_pipeline.domain.heads import Embeddings, Role
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.gate import GateSpec
from mrag_pipeline.stages.ingest.gate import gate
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.publish import publish
from tests.support.builds import Build, CountingEncoder, RecordingProgress
from tests.support.fake_encoder import FakeSegmenter
from tests.support.made_corpus import made_corpus

CORPUS = made_corpus(45, sentences=3)


class DamagedEncoder(CountingEncoder):
    """Every text gets a vector of its own, whatever it says."""

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        return super().encode([text_hash(f"{role} {text}") for text in texts], role)


def build(documents: Sequence[Document], encoder: CountingEncoder) -> Build:
    return Build(documents, shard_bytes=100_000, encoder=encoder)


def verdict_on(
    new: Build, spec: GateSpec, live: Build | None = None
) -> tuple[Verdict, RecordingProgress, ExactIndex]:
    """The verdict on a version that would replace one of the corpus by an undamaged encoder."""
    index, progress = ExactIndex("docs"), RecordingProgress()
    live = live or build(CORPUS, CountingEncoder())
    builds: dict[str, Build] = {}
    for stamp, one in (("live", live), ("new", new)):
        one.reader.stamp = stamp
        manifest, staged = one.staged()
        builds[manifest.version] = one
        load(manifest, one.staging, index, staged.num_chunks, progress)
        if one is live:
            publish(manifest, staged, index)

    def open_version(record: VersionRecord) -> Retriever:
        built = builds[record.version]
        return Retriever(built.encoder, built.segmenter, index, record)

    def read_queries(path: object) -> None:
        pytest.fail(f"{path} was read, and no file is configured")

    verdict = gate(manifest, staged, [], index, spec, read_queries, open_version, progress)  # type: ignore[arg-type]
    return verdict, progress, index


def test_a_worse_encoder_is_stopped() -> None:
    """Though words vote beside it; the reason says what was asked, and the interval."""
    spec = GateSpec(strategy="adaptive")
    verdict, progress, index = verdict_on(build(CORPUS, DamagedEncoder()), spec)
    assert not verdict.is_open
    assert "questions made from the documents" in verdict.reasons[0]
    assert "95% [-" in verdict.reasons[0]
    settings_own, by_vector = verdict.comparisons
    assert (settings_own.strategy, by_vector.strategy) == ("adaptive", "standard")
    assert ("gate", settings_own.num_queries, "queries") in progress.phases
    assert index.live() is not None


def test_a_worse_chunking_is_stopped() -> None:
    """Passages of one word say nothing of what the words around it are about."""
    fragments = build(CORPUS, CountingEncoder())
    fragments.segmenter = FakeSegmenter(ChunkingSpec(max_tokens=1, overlap_tokens=0))
    verdict, _, _ = verdict_on(fragments, GateSpec())
    assert not verdict.is_open
    assert "questions made from the documents" in verdict.reasons[0]


def test_an_equal_version_passes() -> None:
    """The same documents by the same encoder find the same."""
    verdict, _, _ = verdict_on(build(CORPUS, CountingEncoder()), GateSpec(strategy="adaptive"))
    assert verdict.is_open
    for comparison in verdict.comparisons:
        assert comparison.live_success == comparison.new_success
        assert comparison.num_queries >= 20


def test_a_corpus_that_grew_is_not_asked() -> None:
    """Every question is harder in a larger corpus: that is no fault of the version."""
    more = made_corpus(90, sentences=3)
    verdict, progress, _ = verdict_on(build(more, CountingEncoder()), GateSpec())
    assert verdict.is_open
    assert verdict.comparisons == ()
    assert "50% of the documents are in both" in progress.notes[-1]


def test_a_corpus_that_cannot_be_asked_is_compared_by_size_only() -> None:
    """A note says so, and what would be needed."""
    numbers = [Document(f"d{n}", f"{n} {n + 1} {n + 2}") for n in range(30)]
    live, new = (build(numbers, CountingEncoder()) for _ in range(2))
    verdict, progress, _ = verdict_on(new, GateSpec(), live)
    assert verdict.is_open
    assert "0 questions can be made" in progress.notes[-1]


def test_no_questions_are_made_if_none_are_wanted() -> None:
    """`gate.made_questions = 0`: as without labelled queries before."""
    verdict, _, _ = verdict_on(build(CORPUS, DamagedEncoder()), GateSpec(made_questions=0))
    assert verdict == Verdict(len(CORPUS), len(CORPUS), (), ())
