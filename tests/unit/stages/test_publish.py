"""Publishing writes the record, then switches the alias."""

from __future__ import annotations

import pytest

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.publish import publish
from mrag_pipeline.stages.ingest.reconcile import StagedCounts
from mrag_pipeline.stages.ingest.verify import CollectionCheck
from tests.support.builds import Build, RecordingProgress, a_document


class Watched(ExactIndex):
    """Records the steps in order; can fail at one of them."""

    def __init__(self) -> None:
        super().__init__("docs")
        self.steps: list[str] = []
        self.fails_at = ""

    def write_record(self, record: VersionRecord) -> None:
        self._step("record")
        super().write_record(record)

    def activate(self, version: str) -> None:
        self._step("activate")
        super().activate(version)

    def _step(self, name: str) -> None:
        if name == self.fails_at:
            raise IndexUnavailable(f"{name} failed")
        self.steps.append(name)


def loaded(index: ExactIndex, first: int = 0) -> tuple[Manifest, StagedCounts]:
    build = Build([a_document(i) for i in range(first, first + 4)])
    build.reader.stamp = f"of {first}"
    manifest, staged = build.staged()
    load(manifest, build.staging, index, staged.num_chunks, RecordingProgress())
    return manifest, staged


def run(build: tuple[Manifest, StagedCounts], index: ExactIndex) -> VersionRecord:
    return publish(*build, index)


def test_the_record_is_written_before_the_flip() -> None:
    """A version that readers can see has a record."""
    index = Watched()
    record = run(loaded(index), index)
    assert index.steps == ["record", "activate"]
    assert index.live() == record.version
    stored = index.record(record.version)
    assert stored is not None
    assert (stored.num_documents, stored.num_chunks, stored.corpus) == (4, 8, "fake")
    assert stored.sums.num_chunks == 8


def test_publishing_again_changes_nothing() -> None:
    """The same record, with its first date; no second flip."""
    index = Watched()
    build = loaded(index)
    first = run(build, index)
    again = run(build, index)
    assert index.steps == ["record", "activate"]
    assert again.to_json() == first.to_json()


@pytest.mark.parametrize("fails_at", ["record", "activate"])
def test_a_failed_publish_leaves_the_old_version_live(fails_at: str) -> None:
    """The next attempt finishes it."""
    index = Watched()
    old = run(loaded(index), index)
    build = loaded(index, first=50)
    index.fails_at = fails_at
    with pytest.raises(IndexUnavailable):
        run(build, index)
    assert index.live() == old.version
    index.fails_at = ""
    new = run(build, index)
    assert index.live() == new.version != old.version
    assert {record.version for record in index.records()} == {old.version, new.version}


def test_one_chunk_is_published() -> None:
    """A single short document is a corpus; its heads count the same."""
    index = Watched()
    build = Build([Document("d", "two words")])
    manifest, staged = build.staged()
    load(manifest, build.staging, index, staged.num_chunks, RecordingProgress())
    publish(manifest, staged, index)
    live = index.live()
    assert live is not None
    stored = index.record(live)
    assert stored is not None
    assert set(stored.importance()) == {1.0}


def test_the_lowest_recall_is_kept_with_the_record() -> None:
    """For `mrag status`; a version whose build did not record it has none."""
    index = ExactIndex("docs")
    checks = [CollectionCheck("docs_a", 8, 1.0), CollectionCheck("docs_b", 8, 0.75, 3, 0.5, 0.25)]
    record = publish(*loaded(index), index, checks)
    stored = index.record(record.version)
    assert stored is not None
    assert stored.verified_recall() == VersionRecord.from_json(stored.to_json()).verified_recall()
    assert (stored.verified_recall(), stored.recall_searched()) == (0.75, 0.25)
    assert run(loaded(index, first=50), index).verified_recall() is None
