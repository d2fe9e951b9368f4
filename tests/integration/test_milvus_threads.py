"""Many threads share one connection, as in an evaluation and the query service."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from mrag_pipeline.index.milvus.adapter import MilvusIndex, open_index
from mrag_pipeline.ports import SearchRequest
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, vectors

NUM_ROWS = 50
THREADS = 4


def test_threads_that_come_first_load_a_collection_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lite cannot be searched while a collection is reloaded, so it is loaded only once."""
    spec = MilvusSpec(uri=str(tmp_path / "x.db"))
    with closing(open_index(spec, "docs")) as index:
        index.load(HEAD, [table_of(range(NUM_ROWS), vectors(NUM_ROWS))])
    loads: list[str] = []
    together = threading.Barrier(THREADS)
    with closing(open_index(spec, "docs")) as index:
        assert isinstance(index, MilvusIndex)
        load = index._client.load_collection

        def slow_load(name: str, **arguments: object) -> None:
            loads.append(name)
            time.sleep(0.2)
            load(name, **arguments)

        monkeypatch.setattr(index._client, "load_collection", slow_load)

        def search(_: int) -> list[int]:
            together.wait()
            [ranking] = index.search([SearchRequest(HEAD.name, vectors(NUM_ROWS)[:5], 1)])
            return [int(one) for one in ranking.ids[:, 0]]

        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(search, range(THREADS)))
    assert found == [[0, 1, 2, 3, 4]] * THREADS
    assert loads == [HEAD.name]
