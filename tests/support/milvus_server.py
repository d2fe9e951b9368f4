"""A real Milvus 2.3.5 in a process of its own; needs `pip install --no-deps milvus==2.3.5`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from filelock import FileLock, Timeout

# An empty Milvus server's address, such as http://127.0.0.1:19530, to run the contract on too.
SERVER = os.environ.get("MRAG_TEST_MILVUS", "")
# Its parts talk over ports that cannot all be chosen.
ONE_A_HOST = Path(tempfile.gettempdir()) / "mrag-tests-milvus-server.lock"
START_S = 240
# How often its parts look for work, in milliseconds: the defaults are a second and more, most of
# what a test of a small collection waits for. Milvus reads settings from the environment too.
QUICK = {
    "PROXY_TIMETICKINTERVAL": "50",
    "QUERYCOORD_CHECKINTERVAL": "100",
    "QUERYCOORD_CHECKHANDOFFINTERVAL": "500",
    "QUERYCOORD_DISTPULLINTERVAL": "100",
    "INDEXCOORD_SCHEDULER_INTERVAL": "100",
}


def empty(uri: str) -> None:
    """Drops every collection of a server."""
    from pymilvus import MilvusClient

    client = MilvusClient(uri)
    for name in client.list_collections():
        for alias in client.list_aliases(name)["aliases"]:
            client.drop_alias(alias)
        client.drop_collection(name)
    client.close()


def _bound(port: int) -> socket.socket | None:
    """A socket that holds the port, as the package asks for; None if another process has it.

    The package's own refuses a port for a minute after a server that was killed there; Milvus, when
    it starts, does not.
    """
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(("127.0.0.1", port))
        made.listen()
    except OSError:
        made.close()
        return None
    return made


class Server:
    """Milvus, that can be killed and started again on the same folder."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
        **settings: Any,
    ) -> None:
        """Not started yet.

        Args:
            port: the same at each start; 0: any that is free.
            settings: those of its config.yaml template.
        """
        self._folder = folder
        self._port = port
        self._environment = dict(environment or {})
        self._settings = settings
        self._server: Any = None
        self.uri = ""

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self._server.server_proc.pid)

    def start(self) -> None:
        """Up and healthy.

        Raises: RuntimeError if it ends or does not answer in time.
        """
        milvus = importlib.import_module("milvus")
        with socket.socket() as free:  # the one before is still waited for
            free.bind(("127.0.0.1", 0))
            port = self._port or free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        config = milvus.MilvusServerConfig(data_dir=str(self._folder), proxy_port=port)
        config.try_bind_port = _bound
        config.set("common.session.ttl", 5)  # how long a dead one is thought alive
        for name, value in self._settings.items():
            config.set(name, value)
        self._server = milvus.MilvusServer(config, wait_for_started=False)
        kept = dict(os.environ)
        os.environ.update(self._environment)
        try:
            self._server.start()
        finally:
            os.environ.clear()
            os.environ.update(kept)
        deadline = time.monotonic() + START_S
        while not self._healthy():
            if self._server.server_proc.poll() is not None:
                raise RuntimeError("the server has ended")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the server is not up after {START_S} s")
            time.sleep(1)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self._server.server_proc.wait()

    def _healthy(self) -> bool:
        url = f"http://127.0.0.1:{self._server.webservice_port}/healthz"
        try:
            with urlopen(url, timeout=3) as answer:
                return b"OK" in answer.read()
        except (URLError, TimeoutError, ConnectionError):
            return False


@contextmanager
def milvus_server(folder: Path, **settings: Any) -> Iterator[Server]:
    """A server while the block runs; skips the test, with the reason, where none can start."""
    if importlib.util.find_spec("milvus") is None:
        pytest.skip("needs a server: make test-server, or pip install --no-deps milvus==2.3.5")
    made = Server(folder, QUICK, **settings)
    try:
        with FileLock(ONE_A_HOST, timeout=600):
            try:
                made.start()
            except (RuntimeError, OSError) as error:
                pytest.skip(f"no Milvus server can start here: {error}")
            yield made
            made.kill()
    except Timeout:
        pytest.skip("another Milvus server of the tests has run here for ten minutes")


def main(command: list[str]) -> int:
    """Runs a command that finds an empty server in MRAG_TEST_MILVUS; its exit status.

    0, and a line that says why, where no server can start.
    """
    with tempfile.TemporaryDirectory() as place:
        try:
            with milvus_server(Path(place)) as server:
                return subprocess.run(
                    command, env={**os.environ, "MRAG_TEST_MILVUS": server.uri}, check=False
                ).returncode
        except pytest.skip.Exception as why:
            print(f"skipped: {why}")
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
