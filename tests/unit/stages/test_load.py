"""Staged shards are loaded into collections, and what was loaded is verified."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pytest

from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.errors import IndexUnavailable, PlanRefused, VerifyFailed
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import (
    AnySearchRequest,
    CollectionSpec,
    IndexCapabilities,
    Ranking,
    StagedTable,
    StagedTables,
)
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.ingest.load_items import Loader
from mrag_pipeline.stages.ingest.reconcile import StagedCounts
from mrag_pipeline.stages.ingest.verify import verify
from mrag_pipeline.stages.version_collections import collections_of
from tests.support.builds import Build, RecordingProgress, a_document
from tests.support.index_rows import a_record

DOCUMENTS = [
    *(a_document(i) for i in range(12)),
    Document("d0", a_document(99).text, source="again"),
]


class ScriptedIndex(ExactIndex):
    """Exact search that can fail, lose rows, store other vectors, or find too little."""

    def __init__(self) -> None:
        super().__init__("docs")
        self.loaded: list[str] = []
        self.dies_at = ""
        self.loses_row_of = ""
        self.turns_vector_of = ""
        self.spoils_vector_of = ""
        self.finds_little_in = ""
        self.passes_over_in = ""

    def load(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None = None,
    ) -> int:
        content = list(tables)
        if collection.name.endswith(self.dies_at or "\0"):
            super().load(collection, content[:1], on_rows)
            raise IndexUnavailable("killed")
        if collection.name.endswith(self.loses_row_of or "\0"):
            content[0] = content[0].slice(1)
        for ending, value in ((self.turns_vector_of, -1.0), (self.spoils_vector_of, np.nan)):
            if collection.name.endswith(ending or "\0"):
                content[0] = _times(content[0], value)
        self.loaded.append(collection.name)
        return super().load(collection, content, on_rows)

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        rankings = super().search(requests)
        for request, ranking in zip(requests, rankings, strict=True):
            if request.collection.endswith(self.finds_little_in or "\0"):
                ranking.ids[:, 1:], ranking.scores[:, 1:] = -1, -np.inf
            if request.collection.endswith(self.passes_over_in or "\0"):
                deeper = dataclasses.replace(request, limit=2 * request.limit - 1)
                [whole] = super().search([deeper])
                ranking.ids[:], ranking.scores[:] = whole.ids[:, ::2], whole.scores[:, ::2]
        return rankings


def _times(table: pa.Table, value: float) -> pa.Table:
    vectors = [[value * x for x in vector] for vector in table["vector"].to_pylist()]
    column = table.schema.get_field_index("vector")
    return table.set_column(column, "vector", pa.array(vectors, pa.list_(pa.float32())))


@pytest.fixture(scope="module")
def build() -> tuple[Build, Manifest, StagedCounts]:
    """Twelve documents staged, and a thirteenth left out as a duplicate."""
    made = Build(DOCUMENTS)
    return made, *made.staged()


def run_load(
    build: tuple[Build, Manifest, StagedCounts], index: ExactIndex
) -> tuple[int, RecordingProgress]:
    made, manifest, staged = build
    progress = RecordingProgress()
    return load(manifest, made.staging, index, staged.num_chunks, progress), progress


def names(build: tuple[Build, Manifest, StagedCounts]) -> list[str]:
    return [collection.name for collection in collections_of(build[1])]


def run_verify(
    build: tuple[Build, Manifest, StagedCounts], index: ExactIndex, spec: IngestSpec | None = None
) -> list[float]:
    made, manifest, staged = build
    checks = verify(
        manifest, made.staging, index, staged.num_chunks, spec or IngestSpec(), RecordingProgress()
    )
    return [check.recall for check in checks]


def test_every_head_and_the_chunks_are_loaded(build: tuple[Build, Manifest, StagedCounts]) -> None:
    """24 rows in each, duplicates left out, the chunks last."""
    index = ScriptedIndex()
    built, progress = run_load(build, index)
    assert built == 4
    assert index.loaded == names(build)
    assert index.loaded[-1].endswith("_chunks")
    assert [index.count(name) for name in index.loaded] == [24] * 4
    assert progress.done["load"] == 4 * 24
    assert len(index.chunks_of_document(index.loaded[-1], "d0")) == 2


class AskingIndex(ScriptedIndex):
    """Asks which of the tables that it is given are in files of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.in_files: dict[str, list[bool]] = {}

    def load(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None = None,
    ) -> int:
        if isinstance(tables, StagedTables):
            found = [isinstance(table, StagedTable) for table in tables.in_files()]
            self.in_files[collection.name] = found
        return super().load(collection, tables, on_rows)


def test_an_index_may_ask_for_the_staged_files(
    build: tuple[Build, Manifest, StagedCounts],
) -> None:
    """Of every shard but the last, which has a duplicate: of heads, and of chunks."""
    index = AskingIndex()
    run_load(build, index)
    num_shards = len(build[1].shards)
    of_shards = [*[True] * (num_shards - 1), False]
    assert index.in_files == dict.fromkeys(names(build), of_shards)


def test_a_second_load_builds_nothing(build: tuple[Build, Manifest, StagedCounts]) -> None:
    """Complete collections are found, the progress is full, and a note says so."""
    index = ScriptedIndex()
    run_load(build, index)
    built, progress = run_load(build, index)
    assert built == 0
    assert progress.done["load"] == 4 * 24
    assert progress.notes == ["4 of 4 collections were loaded already"]


@pytest.mark.parametrize("number", [0, 2, 3])
def test_a_killed_load_is_finished_by_the_next(
    build: tuple[Build, Manifest, StagedCounts], number: int
) -> None:
    """Whole collections stay; the one cut short is rebuilt, and no row is there twice."""
    index, whole = ScriptedIndex(), ScriptedIndex()
    index.dies_at = names(build)[number][-4:]
    with pytest.raises(IndexUnavailable):
        run_load(build, index)
    assert 0 < index.count(names(build)[number]) < 24
    index.dies_at = ""
    built, _ = run_load(build, index)
    run_load(build, whole)
    assert built == 4 - number
    for name in names(build):
        ids = _all_ids(build)
        actual, expected = index.vectors(name, ids), whole.vectors(name, ids)
        assert index.count(name) == 24
        assert {i: v.tobytes() for i, v in actual.items()} == {
            i: v.tobytes() for i, v in expected.items()
        }


def _all_ids(build: tuple[Build, Manifest, StagedCounts]) -> list[int]:
    made, manifest, _ = build
    return [int(i) for s in manifest.shards for i in made.staging.chunk_ids(s.index)]


def test_a_wrong_count_after_loading_is_an_error(
    build: tuple[Build, Manifest, StagedCounts],
) -> None:
    """The load itself raises it, before it loads anything else."""
    index = ScriptedIndex()
    index.loses_row_of = "_h01"
    with pytest.raises(VerifyFailed, match="_h01 holds 23 rows"):
        run_load(build, index)
    assert len(index.loaded) == 2


def test_a_sound_version_passes(build: tuple[Build, Manifest, StagedCounts]) -> None:
    """Exact search over the index finds what exact search over staging finds."""
    index = ScriptedIndex()
    run_load(build, index)
    assert run_verify(build, index) == [1.0] * 4


def test_a_wrong_count_is_refused(build: tuple[Build, Manifest, StagedCounts]) -> None:
    """A collection that lost a row since it was loaded, or all of them."""
    index = ScriptedIndex()
    run_load(build, index)
    index.drop(names(build)[1])
    with pytest.raises(VerifyFailed, match="_h01 holds 0 rows"):
        run_verify(build, index)


@pytest.mark.parametrize("fault", ["turns_vector_of", "spoils_vector_of"])
def test_a_changed_vector_is_refused(
    build: tuple[Build, Manifest, StagedCounts], fault: str
) -> None:
    """Another direction, or NaN, where the staged vector should be."""
    index = ScriptedIndex()
    setattr(index, fault, "_chunks")
    run_load(build, index)
    with pytest.raises(VerifyFailed, match=r"is missing or has another vector in .*_chunks"):
        run_verify(build, index)


def test_a_vector_at_another_length_is_the_same(
    build: tuple[Build, Manifest, StagedCounts],
) -> None:
    """Some backends keep vectors under cosine at unit length."""
    index = ScriptedIndex()
    run_load(build, index)
    [name, *_] = names(build)
    collection = index._get(name)
    collection.vectors[:] /= np.linalg.norm(collection.vectors, axis=1, keepdims=True)
    assert run_verify(build, index) == [1.0] * 4


def test_low_recall_is_refused(build: tuple[Build, Manifest, StagedCounts]) -> None:
    """One of ten neighbours found: 0.1, accepted only if the config allows it."""
    index = ScriptedIndex()
    index.finds_little_in = "_h02"
    run_load(build, index)
    with pytest.raises(VerifyFailed, match=r"_h02 finds 0\.1000 of the exact top 10"):
        run_verify(build, index)
    lenient = IngestSpec(min_recall=0.1)
    assert run_verify(build, index, lenient) == [1.0, 1.0, 0.1, 1.0]


@pytest.mark.parametrize("among", [1, 6, 12, 4_000_000])
def test_some_shards_are_enough_to_see_a_bad_index(
    build: tuple[Build, Manifest, StagedCounts], among: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second neighbour is missing: recall is about a half, whatever shards are compared."""
    made, manifest, _ = build
    index = ScriptedIndex()
    index.passes_over_in = "_h01"
    run_load(build, index)
    read: list[int] = []
    read_head = made.staging.head

    def noted(shard: int, head: Head) -> pa.Table:
        read.append(shard)
        return read_head(shard, head)

    with monkeypatch.context() as patch:
        patch.setattr(made.staging, "head", noted)
        spec = IngestSpec(verify_sample=3, verify_among=among, min_recall=0.1)
        recalls = run_verify(build, index, spec)
    assert [recalls[0], *recalls[2:]] == [1.0] * 3
    assert 0.4 < recalls[1] < 0.8
    num_read = len(set(read))
    assert num_read == len(manifest.shards) if among > 24 else num_read < len(manifest.shards)


def test_no_sample_checks_the_counts_alone(build: tuple[Build, Manifest, StagedCounts]) -> None:
    """`ingest.verify_sample = 0` compares no vector."""
    index = ScriptedIndex()
    index.turns_vector_of = "_chunks"
    run_load(build, index)
    assert run_verify(build, index, IngestSpec(verify_sample=0)) == [1.0] * 4


def test_the_live_version_is_never_rebuilt_under_its_readers(
    build: tuple[Build, Manifest, StagedCounts],
) -> None:
    """A live collection that has lost rows is an error; it is not dropped and rebuilt."""
    manifest = build[1]
    index = ScriptedIndex()
    run_load(build, index)
    index.write_record(a_record(manifest.version))
    index.activate(manifest.version)
    collection = index._collections[names(build)[0]]
    index._collections[names(build)[0]] = dataclasses.replace(
        collection, ids=collection.ids[1:], vectors=collection.vectors[1:]
    )
    with pytest.raises(PlanRefused, match="live version"):
        run_load(build, index)


class ParallelIndex(ScriptedIndex):
    """Takes three loads at once, and waits until that many have begun."""

    def __init__(self, at_once: int = 3) -> None:
        super().__init__()
        self.at_once = at_once
        self.most_running = 0
        self.running: set[str] = set()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.together = threading.Barrier(at_once)
        self.first_fails = False  # the others then report rows once loading is stopped
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    def told_to_stop(self, stop: Callable[[Loader], None]) -> Callable[[Loader], None]:
        def told(loader: Loader) -> None:
            stop(loader)
            self.stopped.set()

        return told

    def capabilities(self) -> IndexCapabilities:
        return dataclasses.replace(super().capabilities(), loads_at_once=self.at_once)

    def load(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None = None,
    ) -> int:
        with self._lock:
            self.running.add(collection.name)
            self.begun.append(collection.name)
            self.most_running = max(self.most_running, len(self.running))
        try:
            if not collection.name.endswith("_chunks"):
                self.together.wait(10)
            if self.first_fails and collection.name.endswith("_h00"):
                raise IndexUnavailable("the server went away")
            if self.first_fails and on_rows is not None:
                assert self.stopped.wait(30)
                on_rows(0)
            return super().load(collection, tables, on_rows)
        finally:
            with self._lock:
                self.running.discard(collection.name)
                self.ended.append(collection.name)


def test_heads_are_loaded_at_once_and_the_chunks_after_them(
    build: tuple[Build, Manifest, StagedCounts],
) -> None:
    """As many as the index takes; every row is reported once; the chunks come after all heads."""
    index, whole = ParallelIndex(), ScriptedIndex()
    built, progress = run_load(build, index)
    run_load(build, whole)
    assert built == 4
    assert index.most_running == 3
    assert index.begun[-1].endswith("_chunks")
    assert set(index.ended[:3]) == set(names(build)[:3])
    assert progress.done["load"] == 4 * 24
    for name in names(build):
        actual, expected = (i.vectors(name, _all_ids(build)) for i in (index, whole))
        assert {i: v.tobytes() for i, v in actual.items()} == {
            i: v.tobytes() for i, v in expected.items()
        }


def test_one_failed_load_ends_the_others(
    build: tuple[Build, Manifest, StagedCounts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is raised once no load runs any more; the chunks are never begun."""
    index = ParallelIndex()
    index.first_fails = True
    monkeypatch.setattr(Loader, "stop", index.told_to_stop(Loader.stop))
    with pytest.raises(IndexUnavailable, match="went away"):
        run_load(build, index)
    assert index.running == set()
    assert index.loaded == []
    assert sorted(index.begun) == names(build)[:3]


def test_a_load_that_has_not_begun_when_another_fails_never_begins(
    build: tuple[Build, Manifest, StagedCounts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once of three heads: the third is not touched."""
    index = ParallelIndex(at_once=2)
    index.first_fails = True
    monkeypatch.setattr(Loader, "stop", index.told_to_stop(Loader.stop))
    with pytest.raises(IndexUnavailable, match="went away"):
        run_load(build, index)
    assert sorted(index.begun) == names(build)[:2]
