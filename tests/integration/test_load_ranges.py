"""Collections that Ray actors fill in ranges of a real Milvus server, one actor killed or late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
import pyarrow as pa
import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.errors import IndexUnavailable, PlanRefused
from mrag_pipeline.index.milvus import ranges as ranges_module
from mrag_pipeline.ports import CollectionSpec, Work
from mrag_pipeline.runtime.pools import phase_pools
from mrag_pipeline.stages.ingest.load import in_threads, load
from mrag_pipeline.stages.ingest.load_items import may_double
from tests.support.builds import Build, RecordingProgress, a_document
from tests.support.fake_staging import table_of
from tests.support.loaded_collections import contents, dying, late
from tests.support.milvus_server import Server, milvus_server
from tests.support.phase_workers import StagingOnDisk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DOCUMENTS = [a_document(i) for i in range(40)]
RANGE_BYTES = 3_000.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests."""
    with milvus_server(tmp_path_factory.mktemp("milvus")) as made:
        yield made


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """What is staged on disk, where workers find it."""
    version = Build(DOCUMENTS).plan().manifest.version
    uri = str(tmp_path / "staging")
    return Build(DOCUMENTS, staging=StagingOnDisk(uri, "docs", version))  # type: ignore[arg-type]


def config_of(server: Server, tmp_path: Path) -> Config:
    """Two workers for any phase."""
    return Config.parse(
        {
            "index": "docs",
            "staging": {"uri": str(tmp_path / "staging")},
            "milvus": {"uri": server.uri},
            "workers": {"count": 2, "device": "cpu", "phase_mb": 0.0},
        }
    )


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("opener", [dying, late], ids=["dies", "late"])
def test_a_range_that_two_workers_load_has_every_row_once(
    server: Server,
    build: Build,
    tmp_path: Path,
    opener: Callable[[str, Path, Config], Work],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One of them dies, or answers late; then nothing is left to load."""
    manifest, staged = build.staged()
    config = config_of(server, tmp_path)
    progress = RecordingProgress()
    version = manifest.version
    with closing(wiring.index(config)) as index:
        for name in index.collections():
            index.drop(name)
        run = partial(load, manifest, build.staging, index, staged.num_chunks)
        num_built = run(RecordingProgress())
        wanted = contents(config, build)
        for name in index.collections():
            index.drop(name)
        opened = partial(opener, version, tmp_path / "mark")
        pools = phase_pools(config, opened, here=in_threads(index), may_double=may_double)
        assert run(progress, pools, RANGE_BYTES) == num_built
        assert (tmp_path / "mark").exists()
        assert "given to a second worker" in caplog.text or opener is dying
        assert contents(config, build) == wanted
        assert progress.done["load"] == num_built * staged.num_chunks
        assert run(RecordingProgress(), pools, RANGE_BYTES) == 0


def test_a_killed_load_goes_on_with_the_ranges_that_are_missing(
    server: Server, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In threads of one process, with all channels: what was loaded before stays."""
    monkeypatch.setattr(ranges_module, "_CHANNEL_BYTES", 1)
    manifest, staged = build.staged()
    config = config_of(server, tmp_path)

    class Killed(BaseException):
        pass

    class Kills(RecordingProgress):
        def advance(self, done: int, facts: object = None) -> None:
            super().advance(done)
            if self.done["load"] > staged.num_chunks:
                raise Killed

    with closing(wiring.index(config)) as index:
        run = partial(load, manifest, build.staging, index, staged.num_chunks)
        for name in index.collections():
            index.drop(name)
        whole = run(RecordingProgress())
        wanted = contents(config, build)
        for name in index.collections():
            index.drop(name)
        with pytest.raises(Killed):
            run(Kills(), None, RANGE_BYTES)
        inserted: list[int] = []
        ranges = index.ranges()
        assert ranges is not None
        given = ranges.load_range

        def counted(*args: object) -> int:
            inserted.append(given(*args))  # type: ignore[arg-type]
            return inserted[-1]

        index.load_range = counted  # type: ignore[attr-defined]
        progress = RecordingProgress()
        assert run(progress, None, RANGE_BYTES) == whole
        assert sum(inserted) < progress.done["load"] == whole * staged.num_chunks
        assert contents(config, build) == wanted


def test_a_loader_that_begins_while_ranges_are_counted_adds_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partition is none of those that were counted, however empty it is then."""
    collection = CollectionSpec("docs_late", "head", 4)
    vectors = np.eye(4, dtype=np.float32)
    goes_on, has_begun = Event(), Event()

    def late() -> Iterator[pa.Table]:
        has_begun.set()
        assert goes_on.wait(60)
        yield table_of(range(4), vectors)

    with closing(wiring.index(config_of(server, tmp_path))) as index, ThreadPoolExecutor(1) as pool:
        ranges = index.ranges()
        assert isinstance(ranges, ranges_module.MilvusRanges)
        index.drop(collection.name)
        ranges.begin_ranges(collection, {"a": 4})
        ranges.load_range(collection, "a", [table_of(range(4), vectors)], lambda _: None)
        counted = ranges._partition_rows
        loaders: list[Future[int]] = []

        def counting(name: str, partition: str) -> int:
            if not loaders:
                load_late = partial(ranges.load_range, collection, "a", late(), lambda _: None)
                loaders.append(pool.submit(load_late))
                assert has_begun.wait(60)
            return counted(name, partition)

        monkeypatch.setattr(ranges, "_partition_rows", counting)
        assert ranges.end_ranges(collection, {"a": 4}) == 4
        goes_on.set()
        with pytest.raises((IndexUnavailable, PlanRefused)):
            loaders[0].result()
        assert index.count(collection.name) == 4
        index.drop(collection.name)
