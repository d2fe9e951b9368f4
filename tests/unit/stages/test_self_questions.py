"""Which documents of a version are asked for, and how their texts are put together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import EmptyCorpus
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.stages.evaluate.document_sample import read_documents, sample_documents
from mrag_pipeline.stages.evaluate.self_questions import self_questions
from mrag_pipeline.stages.ingest.publish import publish
from tests.support import builds
from tests.support.builds import Build, RecordingProgress
from tests.support.fake_encoder import FakeSegmenter
from tests.support.made_corpus import made_corpus

CORPUS = made_corpus(40)


def published(
    documents: Sequence[Document],
    monkeypatch: pytest.MonkeyPatch,
    chunking: ChunkingSpec | None = None,
) -> tuple[ExactIndex, VersionRecord]:
    from mrag_pipeline.stages.ingest.load import load

    if chunking is not None:
        monkeypatch.setattr(builds, "CHUNKING", chunking)
    index = ExactIndex("docs")
    build = Build(documents, shard_bytes=4_000)
    build.segmenter = FakeSegmenter(builds.CHUNKING)
    manifest, staged = build.staged()
    load(manifest, build.staging, index, staged.num_chunks, RecordingProgress())
    return index, publish(manifest, staged, index)


def test_texts_are_whole_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks end anywhere; only white space between them may differ."""
    index, record = published(CORPUS, monkeypatch)
    texts = {d.id: " ".join(d.text.split()) for d in CORPUS}
    read = read_documents(index, record, sample_documents(index, record, 0))
    assert {d.id: " ".join(d.text.split()) for d in read} == texts
    assert {d.id: d.title for d in read} == {d.id: d.title for d in CORPUS}


def test_overlapping_chunks_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What two chunks share stands once in the text."""
    index, record = published(CORPUS, monkeypatch, ChunkingSpec(max_tokens=9, overlap_tokens=4))
    read = read_documents(index, record, sample_documents(index, record, 0))
    texts = {d.id: " ".join(d.text.split()) for d in CORPUS}
    assert {d.id: " ".join(d.text.split()) for d in read} == texts


def test_the_sample_is_by_chance_and_stays_when_others_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten of forty; with one document more, at most one of the ten is another."""
    index, record = published(CORPUS[:-1], monkeypatch)
    before = {d.id for d in sample_documents(index, record, 0, 10)}
    other_seed = {d.id for d in sample_documents(index, record, 1, 10)}
    index, record = published(CORPUS, monkeypatch)
    after = {d.id for d in sample_documents(index, record, 0, 10)}
    assert len(before) == len(after) == 10
    assert len(before & after) >= 9
    assert other_seed != before


def test_another_chunking_is_asked_the_same_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made from documents, not from chunks: so two chunkings can be compared."""
    made = []
    for chunking in (ChunkingSpec(max_tokens=8), ChunkingSpec(max_tokens=23)):
        index, record = published(CORPUS, monkeypatch, chunking)
        made.append(self_questions(index, record, 30, 0, RecordingProgress()))
    assert [query.text for query in made[0].queries] == [query.text for query in made[1].queries]


def test_a_corpus_that_says_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what would be needed, and what to do instead."""
    index, record = published([Document(f"d{n}", f"{n} {n + 1}") for n in range(9)], monkeypatch)
    with pytest.raises(EmptyCorpus, match="no question can be made") as caught:
        self_questions(index, record, 30, 0, RecordingProgress())
    assert "--queries" in str(caught.value)
