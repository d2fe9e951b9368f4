"""A Prefect server of the tests' own, with a database of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

PREFECT = Path(sys.executable).parent / "prefect"


@contextmanager
def prefect_server(folder: Path) -> Iterator[str]:
    """Its API's address on the loopback, while the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    }
    command = [PREFECT, "server", "start", "--no-ui", "--host", "127.0.0.1", "--port", port]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(one) for one in command], env=environment, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 180
        while not _answers(port):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5).close()
    except OSError:
        return False
    return True
