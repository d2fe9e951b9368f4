"""Milvus Lite behind a port: a server to several processes, up in a second."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MILVUS_LITE = Path(sys.executable).parent / "milvus-lite"
START_S = 120


@dataclass(frozen=True, slots=True)
class LiteServer:
    """Where it answers, and what to kill."""

    uri: str
    process: subprocess.Popen[bytes]
    port: int


@contextmanager
def lite_server(database: Path, port: int = 0) -> Iterator[LiteServer]:
    """A server on the loopback over that database, while the block runs; 0: on any free port."""
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(str(MILVUS_LITE), "server", "--data-dir", str(database)),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline, "the server does not come up"
                time.sleep(0.1)
        yield LiteServer(f"http://127.0.0.1:{port}", process, port)
    finally:
        process.kill()
        process.wait()
