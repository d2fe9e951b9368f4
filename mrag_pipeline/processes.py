"""Waits for processes to end; run as a script, it ends what a killed command would leave running.

The script reads from a pipe that the command holds open. If the pipe closes without a message, the
command was killed, and the script ends all processes that have the command's mark in their
environment. It runs for as long as the command, so this file imports nothing of ours: 15 MB.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

import psutil

MARK = "MRAG_RUN"
_GRACE_S = 2.0  # Ray's actors and raylet end by themselves
_LOOK_S = 0.05
_TERM_S = 10.0  # Ray's processes end in order; a run's record is written


def alive_after(seconds: float, processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended after so long; returns at once when all have.

    psutil.wait_procs raises FileNotFoundError where a thread got the id of a process that ended.
    """
    until = time.monotonic() + seconds
    alive = list(filter(is_alive, processes))
    while alive and time.monotonic() < until:
        time.sleep(_LOOK_S)
        alive = list(filter(is_alive, alive))
    return alive


def is_alive(process: psutil.Process) -> bool:
    """Whether it has not ended; a zombie has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # there, and another user's


def _watch(mark: str) -> None:
    if sys.stdin.buffer.read(1):
        return
    time.sleep(_GRACE_S)
    orphans = [process for process in psutil.process_iter() if _has_mark(process, mark)]
    for process in orphans:
        _send(process, signal.SIGTERM)
    for process in alive_after(_TERM_S, orphans):
        _send(process, signal.SIGKILL)


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
