"""Collections that are loaded by Ray actors into a real Milvus server, one of them killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.runtime.pools import phase_pools
from mrag_pipeline.stages.ingest.load import in_threads, load
from mrag_pipeline.stages.ingest.load_items import may_double
from tests.support.builds import Build, RecordingProgress, a_document
from tests.support.loaded_collections import contents, dying
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
        wanted = contents(config, build)
        for name in index.collections():
            index.drop(name)
        opener = partial(dying, version, tmp_path / "killed")
        pools = phase_pools(config, opener, here=in_threads(index), may_double=may_double)
        assert run(progress, pools) == here
        assert (tmp_path / "killed").exists()
        assert contents(config, build) == wanted
        assert progress.done["load"] == here * staged.num_chunks
        assert run(RecordingProgress(), pools) == 0  # nothing is left to load
