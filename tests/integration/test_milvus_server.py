"""A real Milvus server: killed while a version is built and synced, and given one from Lite.

Needs `pip install --no-deps milvus==2.3.5`, which carries the server; skips elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.errors import IndexBusy, IndexUnavailable
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.index.milvus.lease_table import open_lease_table
from mrag_pipeline.locking.index_lease import index_lease
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.ingest.publish import activate
from mrag_pipeline.stages.versions.export import export_version
from mrag_pipeline.stages.versions.import_version import import_version
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.staging.exports import open_export
from tests.support.builds import RecordingProgress
from tests.support.crash_scenarios import CHANGED, FIRST
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.living_index import Living, assert_same, audited
from tests.support.milvus_server import Server, milvus_server
from tests.support.scripted_kills import Killable, Switch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

POINTS = ["add rows to l00_h01", "add rows to chunks", "delete rows of chunks", "write the record"]
BUILD_POINTS = ["load l00_h01, after shard 1", "load chunks", "write the record", "flip the alias"]
QUERIES = ["river bread stone", "lamp tower. garden winter music", "sun"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests: each its own index."""
    with milvus_server(tmp_path_factory.mktemp("milvus")) as made:
        yield made


def opened(server: Server, name: str = "docs") -> VectorIndex:
    return open_index(MilvusSpec(uri=server.uri, timeout_s=20), name)


def test_a_server_killed_in_a_sync_costs_nothing(server: Server, tmp_path: Path) -> None:
    """At four points of one sync after another; the same sync again is whole."""
    with closing(opened(server)) as index:
        living = Living(tmp_path / "staging", FIRST, index, shard_bytes=200, num_heads=2)
        living.ingest()
    for turn, point in enumerate(POINTS):
        living.items = CHANGED if turn % 2 == 0 else FIRST
        with closing(opened(server)) as index:
            killed = replace(living, index=_killing(server, index, point))
            with pytest.raises(IndexUnavailable):
                killed.sync()
        server.start()
        with closing(opened(server)) as index:
            again = replace(living, index=index)
            again.sync()
            assert [str(one) for one in audited(again).findings] == [], point
            assert_same(again, again.rebuilt(tmp_path / f"rebuilt-{turn}"))


def test_a_server_killed_in_a_build_costs_nothing(server: Server, tmp_path: Path) -> None:
    """At four points of an ingest, each of a version beside the one before: a reindex."""
    living = Living(tmp_path / "staging", FIRST, shard_bytes=200, num_heads=2, name="built")
    for turn, point in enumerate(BUILD_POINTS):
        living.chunking = ChunkingSpec(max_tokens=8 + turn)
        with closing(opened(server, "built")) as index:
            before = index.live()
            killed = replace(living, index=_killing(server, index, point))
            with pytest.raises(IndexUnavailable):
                killed.ingest()
        server.start()
        with closing(opened(server, "built")) as index:
            assert index.live() == before
            again = replace(living, index=index)
            again.ingest()
            assert [str(one) for one in audited(again).findings] == [], point
            assert_same(again, again.rebuilt(tmp_path / f"rebuilt-{turn}"))


def test_a_version_goes_from_lite_to_a_server(server: Server, tmp_path: Path) -> None:
    """Exported and imported: audit finds nothing; rows, importance and answers are equal."""
    with (
        closing(open_index(MilvusSpec(uri=str(tmp_path / "x.db")), "docs")) as lite,
        closing(opened(server, "moved")) as index,
    ):
        living = Living(tmp_path / "staging", FIRST, lite, shard_bytes=200, num_heads=2)
        living.ingest()
        living.items = CHANGED
        living.sync()
        place = open_export(str(tmp_path / "export"))
        export_version(live_record(lite), lite, place, RecordingProgress())
        record = import_version(place, "moved", index, RecordingProgress())
        assert index.live() is None
        activate(record.version, index)
        moved = replace(living, index=index)
        assert [str(one) for one in audited(moved, with_staging=False).findings] == []
        assert_same(moved, living)
        for query in QUERIES:
            for strategy in ("mrag", "aspect", "standard"):
                there, here = (asked(one, query, strategy) for one in (index, lite))
                assert there == here, (query, strategy)
                assert there


def test_two_runs_on_a_server_do_not_meet(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is told who holds the lease; when it is let go, it is free at once."""
    monkeypatch.setattr("mrag_pipeline.locking.index_lease.BEAT_S", 1.0)
    spec = MilvusSpec(uri=server.uri)
    with leased(spec):
        for _ in range(2):
            with (
                pytest.raises(IndexBusy, match=f"process {os.getpid()} on"),
                leased(spec),
            ):
                pass
    started = time.monotonic()
    with leased(spec):
        assert time.monotonic() - started < 10


@contextmanager
def leased(spec: MilvusSpec) -> Iterator[None]:
    with open_lease_table(spec, "leased") as table, index_lease(table, "leased"):
        yield


def asked(index: VectorIndex, query: str, strategy: str) -> list[tuple[int, str, float]]:
    retriever = Retriever(FakeEncoder(num_heads=2), FakeSegmenter(), index, live_record(index))
    found = retriever.retrieve(query, 5, strategy).found
    return [(one.row.id, one.row.text, round(one.hit.vote, 4)) for one in found]


def _killing(server: Server, index: Any, point: str) -> Any:
    def end(passed: str) -> None:
        if passed.endswith(point):
            server.kill()

    class Every(Switch):
        def before(self, point: str) -> None:
            end(point)

    return Killable(index, Every())
