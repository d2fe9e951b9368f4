"""What a killed command would leave running is ended: the local Prefect server, Ray's agents.

All that a command starts inherits a mark in its environment. A small process waits at a pipe
whose other end the command holds; when that closes without a word, the command was killed, and
what bears its mark is ended. It runs as a script and imports nothing of ours: 15 MB, for as long
as the command.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil

MARK = "MRAG_RUN"
_GRACE_S = 2.0  # Ray's actors and raylet go by themselves
_TERM_S = 10.0  # Prefect's server closes its database


def guard() -> None:
    """From now on, what this process starts does not outlive it by more than some seconds."""
    if os.environ.get(MARK, "").startswith(f"{os.getpid()}-"):
        return
    mark = os.environ[MARK] = f"{os.getpid()}-{uuid.uuid4().hex}"
    watch = subprocess.Popen(
        # -P: a script's folder is not searched, where `inspect` would be ours, not Python's.
        [sys.executable, "-P", str(Path(__file__)), mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is the command's to handle
    )
    atexit.register(_dismiss, watch)


def _dismiss(watch: subprocess.Popen[bytes]) -> None:
    try:
        watch.communicate(b".", timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        watch.kill()


def _watch(mark: str) -> None:
    if sys.stdin.buffer.read(1):
        return
    time.sleep(_GRACE_S)
    left = [one for one in psutil.process_iter() if _bears(one, mark)]
    for one in left:
        _send(one, signal.SIGTERM)
    _, alive = psutil.wait_procs(left, timeout=_TERM_S)
    for one in alive:
        _send(one, signal.SIGKILL)


def _bears(process: psutil.Process, mark: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False  # another user's, or gone


def _send(process: psutil.Process, what: signal.Signals) -> None:
    try:
        process.send_signal(what)  # not to another that has got its number meanwhile
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    _watch(sys.argv[1])
