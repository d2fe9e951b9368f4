"""A real Milvus server that is killed while a version is built, synced and switched.

Needs `pip install --no-deps milvus==2.3.5`, which carries the server; skips elsewhere.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.index.milvus import open_index
from mrag_pipeline.index.spec import MilvusSpec
from mrag_pipeline.ports import VectorIndex
from tests.crashes import CHANGED, FIRST
from tests.killing import Killable, Switch
from tests.living import Living, assert_same, audited

milvus = pytest.importorskip("milvus", reason="needs pip install --no-deps milvus==2.3.5")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

POINTS = ["add rows to l00_h01", "add rows to chunks", "delete rows of chunks", "write the record"]


class Server:
    """Milvus in a process of its own, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None
        self.uri = ""

    def start(self) -> None:
        with socket.socket() as free:  # the one before is still waited for
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        config = milvus.MilvusServerConfig(data_dir=str(self._folder), proxy_port=port)
        config.set("common.session.ttl", 5)  # how long a dead one is thought alive
        self._server = milvus.MilvusServer(config, wait_for_started=False)
        self._server.start()
        deadline = time.monotonic() + 240
        while not self._healthy():
            assert self._server.server_proc.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not come up"
            time.sleep(1)

    def kill(self) -> None:
        os.kill(self._server.server_proc.pid, signal.SIGKILL)
        self._server.server_proc.wait()

    def _healthy(self) -> bool:
        url = f"http://127.0.0.1:{self._server.webservice_port}/healthz"
        try:
            with urlopen(url, timeout=3) as answer:
                return b"OK" in answer.read()
        except (URLError, TimeoutError, ConnectionError):
            return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "milvus")
    made.start()
    yield made
    made.kill()


def opened(server: Server) -> VectorIndex:
    return open_index(MilvusSpec(uri=server.uri, timeout_s=20), "docs")


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


def _killing(server: Server, index: Any, point: str) -> Any:
    def end(passed: str) -> None:
        if passed.endswith(point):
            server.kill()

    class Every(Switch):
        def before(self, point: str) -> None:
            end(point)

    return Killable(index, Every())
