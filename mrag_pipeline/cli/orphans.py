"""Ends what a killed command would leave running, such as Ray's agents.

Every process that a command starts inherits a mark in its environment. A small watcher reads from
a pipe that the command holds open; if the pipe closes without a message, the command was killed,
and the watcher ends the processes with its mark. It runs as a script and imports nothing of ours:
15 MB, for as long as the command runs.
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
_GRACE_S = 2.0  # Ray's actors and raylet end by themselves
_LOOK_S = 0.1
_TERM_S = 10.0  # Ray's processes end in order; a run's record is written


def guard() -> None:
    """Makes sure that what this process starts outlives it by a few seconds at most."""
    if os.environ.get(MARK, "").startswith(f"{os.getpid()}-"):
        return
    from mrag_pipeline.cli import interrupts
    from mrag_pipeline.runtime import parts

    parts.when_lost = interrupts.end_with  # what it has started then has this process's mark
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
    orphans = [process for process in psutil.process_iter() if _has_mark(process, mark)]
    for process in orphans:
        _send(process, signal.SIGTERM)
    for process in alive_after(_TERM_S, orphans):
        _send(process, signal.SIGKILL)


def alive_after(seconds: float, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended after so long; returns at once when all have.

    psutil.wait_procs raises FileNotFoundError where a thread got the id of a process that ended.
    """
    until = time.monotonic() + seconds
    while (alive := [one for one in processes if _is_alive(one)]) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False  # another user's process, or one that has ended


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)  # checks that the pid was not reused meanwhile
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    _watch(sys.argv[1])
