"""Collections that are loaded by Ray actors into a real Milvus server, one of them killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.runtime.pools import phase_pools
from mrag_pipeline.stages.ingest.load import collections_of, in_threads, load
from mrag_pipeline.stages.ingest.load_items import Loader, may_double
from mrag_pipeline.wiring.phase_work import loader
from tests.support.builds import Build, RecordingProgress, a_document
from tests.support.milvus_server import Server, milvus_server
from tests.support.phase_workers import StagingOnDisk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("local_ray"),
]
DOCUMENTS = [a_document(i) for i in range(40)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests."""
    with milvus_server(tmp_path_factory.mktemp("milvus")) as made:
        yield made


def dying(version: str, mark: Path, config: Config) -> Loader:
    """A worker's loader; the first worker that has inserted rows is killed before it goes on."""

    def killed_once(_rows: int) -> None:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return replace(loader(version, config), advance=killed_once)


def contents(config: Config, version: str, build: Build) -> dict[str, Any]:
    """What each of the version's collections holds, for all staged chunks."""
    manifest = build.plan().manifest
    shards = [shard.index for shard in manifest.shards]
    ids = [int(i) for shard in shards for i in build.staging.chunk_ids(shard)]
    with closing(wiring.index(config)) as index:
        every = collections_of(config.index, version, manifest.encoder, manifest.lexical)
        names = [one.name for one in every if one.kind != "lexical"]
        found: dict[str, Any] = {"texts": index.chunks(names[-1], ids)}
        for name in names:
            assert index.count(name) == len(ids)
            found[name] = {i: v.tobytes() for i, v in index.vectors(name, ids).items()}
    return found


def test_a_loading_worker_that_dies_costs_its_collection_a_second_load(
    server: Server, tmp_path: Path
) -> None:
    """Two workers, one killed between its rows: every row once, as in a load by threads."""
    uri = str(tmp_path / "staging")
    version = Build(DOCUMENTS).plan().manifest.version
    build = Build(DOCUMENTS, staging=StagingOnDisk(uri, "docs", version))  # type: ignore[arg-type]
    manifest, staged = build.staged()
    config = Config.parse(
        {
            "index": "docs",
            "staging": {"uri": uri},
            "milvus": {"uri": server.uri},
            "workers": {"count": 2, "device": "cpu", "phase_mb": 0.0},
        }
    )
    progress = RecordingProgress()
    with closing(wiring.index(config)) as index:
        run = partial(load, manifest, build.staging, index, staged.num_chunks)
        here = run(RecordingProgress())
        wanted = contents(config, version, build)
        for name in index.collections():
            index.drop(name)
        opener = partial(dying, version, tmp_path / "killed")
        pools = phase_pools(config, opener, here=in_threads(index), may_double=may_double)
        assert run(progress, pools) == here
        assert (tmp_path / "killed").exists()
        assert contents(config, version, build) == wanted
        assert progress.done["load"] == here * staged.num_chunks
        assert run(RecordingProgress(), pools) == 0  # nothing is left to load
