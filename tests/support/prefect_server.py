"""A Prefect server of the tests' own, with a database of its own."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import psutil

from mrag_pipeline.processes import alive_after

PREFECT = Path(sys.executable).parent / "prefect"


class PrefectServer:
    """A server that can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        """Not started yet; its database is in the folder."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        self.url = f"http://127.0.0.1:{self._port}/api"

    def start(self) -> None:
        """Up, and answering."""
        environment = os.environ | {
            "PREFECT_HOME": str(self._folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        }
        words = ("server", "start", "--no-ui", "--host", "127.0.0.1", "--port", str(self._port))
        log = self._folder / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(PREFECT), *words], env=environment, stdout=output, stderr=output
            )
        self._process = process
        self.pid = process.pid
        deadline = time.monotonic() + 180
        while not _answers(self._port):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)

    def kill(self) -> None:
        """SIGKILL to it and to what it has started."""
        assert self._process is not None
        family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM; SIGKILL if that takes long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """Its API's address on the loopback, while the block runs."""
    server = PrefectServer(folder)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


@contextmanager
def shared_prefect_server(folder: Path) -> Iterator[str]:
    """One server for all processes that share the tests: the first starts it, the last ends it.

    Args:
        folder: the same for all of them.
    """
    facts, user = folder / "server.json", folder / f"user-{os.getpid()}"
    with _alone(folder):
        if not facts.exists():
            server = PrefectServer(folder)
            try:
                server.start()
            except BaseException:
                server.stop()
                raise
            facts.write_text(json.dumps({"url": server.url, "pid": server.pid}))
        shared = json.loads(facts.read_text())
        user.touch()
    try:
        yield str(shared["url"])
    finally:
        with _alone(folder):
            user.unlink()
            users = [int(path.name.removeprefix("user-")) for path in folder.glob("user-*")]
            if not any(map(psutil.pid_exists, users)):
                facts.unlink()
                _end(int(shared["pid"]))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process is in such a block meanwhile."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _end(pid: int) -> None:
    """SIGTERM; SIGKILL if that takes long. The process need not be a child of this one."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.terminate()
        for late in alive_after(30, [process]):
            late.kill()


def _answers(port: int) -> bool:
    try:
        urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5).close()
    except OSError:
        return False
    return True
