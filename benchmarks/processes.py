"""Runs the servers of a benchmark as processes, and measures their CPU time and memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil
from filelock import FileLock

from mrag_pipeline.client import Client
from mrag_pipeline.processes import alive_after

# Milvus's parts talk over ports that cannot all be chosen: as in tests/support/milvus_server.py.
ONE_A_HOST = Path(tempfile.gettempdir()) / "mrag-tests-milvus-server.lock"
PARTS = ("QueryApi", "QueryEncoder", "HeadSearch", "haproxy", "plain_search", "milvus")


def free_port() -> int:
    """A free TCP port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def milvus_server(folder: Path) -> Iterator[str]:
    """Runs Milvus 2.3.5 in a process of its own; yields its URI. The data stays in the folder."""
    try:
        import milvus
    except ImportError:
        raise SystemExit("the server needs: pip install --no-deps milvus==2.3.5") from None
    port = free_port()
    config = milvus.MilvusServerConfig(data_dir=str(folder.absolute()), proxy_port=port)
    config.set("common.session.ttl", 5)
    with FileLock(ONE_A_HOST, timeout=600):
        server = milvus.MilvusServer(config, wait_for_started=False)
        server.start()
        try:
            deadline = time.monotonic() + 240
            while not _healthy(server.webservice_port):
                if server.server_proc.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the Milvus server did not start within 240 s")
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.server_proc.kill()
            server.server_proc.wait()


def _healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=3) as answer:
            return b"OK" in answer.read()
    except (URLError, TimeoutError, ConnectionError):
        return False


@dataclass
class Process:
    """A service under measurement."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def tree(self) -> list[psutil.Process]:
        """The process and all its descendants that are still alive."""
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds spent so far, by part: the name of a deployment or of a program."""
        spent: dict[str, float] = {}
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess, IndexError):
                line = " ".join(process.cmdline())
                name = next((part for part in PARTS if part in line), "the rest")
                times = process.cpu_times()
                spent[name] = spent.get(name, 0.0) + times.user + times.system
        return spent

    def rss_bytes(self) -> int:
        """Resident memory of the whole process tree."""
        total = 0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                total += process.memory_info().rss
        return total


@contextmanager
def running(
    command: Sequence[str], port: int, log: Path, ready: Callable[[str], bool]
) -> Iterator[Process]:
    """Runs a server as a process; yields once it is ready.

    At the end it and its descendants are interrupted, then killed if they do not stop.
    """
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "PYTHONPATH": str(Path.cwd()), "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
        server = Process(url, process, log)
        try:
            deadline = time.monotonic() + 180
            while not ready(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log_end = log.read_text(errors="replace")[-3000:]
                    raise SystemExit(f"{command} did not become ready:\n{log_end}")
                time.sleep(0.25)
            yield server
        finally:
            started = server.tree()
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(45)
            for left in alive_after(5, started):
                with contextlib.suppress(psutil.NoSuchProcess):
                    print(f"still running, killed: {' '.join(left.cmdline())[:100]}", flush=True)
                    left.kill()


def is_ready(url: str) -> bool:
    """Whether the service reports that it is ready."""
    with Client(url) as client:
        return client.ready()


def copied(database: Path, name: str) -> Path:
    """Copies a Milvus Lite database, since each process needs its own."""
    path = database.with_name(name)
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(database, path)
    return path
