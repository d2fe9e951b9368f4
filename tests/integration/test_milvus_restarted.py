"""A Milvus server that was started again has released every collection: it is loaded again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import SearchRequest
from mrag_pipeline.serving.live_version import LiveSearch
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.living_index import Living, a_document
from tests.support.milvus_lite_server import lite_server

pytestmark = pytest.mark.timeout(600)

T = TypeVar("T")


def once_reconnected(ask: Callable[[], T]) -> T:
    """The answer, as soon as the client has found the server again."""
    until = time.monotonic() + 60
    while True:
        try:
            return ask()
        except IndexUnavailable:
            assert time.monotonic() < until
            time.sleep(0.2)


def test_a_restarted_server_is_searched_again_without_another_command(tmp_path: Path) -> None:
    """Vectors, words, rows, counts and the record, each by the first read after the restart."""
    database = tmp_path / "x.db"
    with lite_server(database) as server:
        index = open_index(MilvusSpec(uri=server.uri, timeout_s=5), "docs")
        living = Living(tmp_path / "staging", [a_document(1), a_document(2)], index, num_heads=2)
        record = living.ingest()
        [head, *_] = record.head_collections()
        ids = [int(i) for block in index.ids(record.chunks_collection()) for i in block]
        [before] = index.search([SearchRequest(head, np.ones((1, 8), np.float32), 2)])
        live = LiveSearch(index, 5.0)
        assert live.state().reason == ""
        server.process.kill()
        server.process.wait()
    with closing(index), closing(live):
        assert live.state().reason
        with lite_server(database, server.port):
            assert once_reconnected(index.live) == record.version
            [after] = index.search([SearchRequest(head, np.ones((1, 8), np.float32), 2)])
            assert after.ids.tolist() == before.ids.tolist()
            assert index.count(record.chunks_collection()) == len(ids)
            assert set(index.chunks(record.chunks_collection(), ids)) == set(ids)
            stored = index.record(record.version)
            assert stored is not None
            assert stored.version == record.version
            assert live.state().reason == ""
