"""The processes of this process's local Ray, without which nothing goes on, and their loss.

Ray itself notices minutes later that one has ended, or never. What waits for it in Ray's compiled
code cannot be interrupted, and Ray ends the whole process a minute later, with its own log on the
terminal. So the parts are looked after from outside, in a thread, from the moment they start.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from mrag_pipeline.errors import RayBroken
from mrag_pipeline.processes import is_alive

log = logging.getLogger(__name__)

NAMES = {
    "raylet": "the raylet, which runs the workers",
    "gcs_server": "the control service (GCS), which knows the actors",
}
_LOOK_S = 0.25
# That a lost part has to be noticed by whoever works with Ray; then the process is taken to hang.
UNNOTICED_S = 5.0
# The same for a part that ended by itself while Ray starts, as on a busy machine: Ray gives up
# after 30 s, and is started again.
STARTING_S = 35.0

# Ends the process with the error. A command sets it; without it Ray has its way.
when_lost: Callable[[RayBroken], object] | None = None


class Parts:
    """Those of the local Ray that this process has started, if it has."""

    def __init__(self, unnoticed_s: float = UNNOTICED_S, starting_s: float = STARTING_S) -> None:
        """Has none yet."""
        self._unnoticed_s = unnoticed_s
        self._starting_s = starting_s
        self._parts: dict[psutil.Process, str] = {}
        self._is_over = threading.Event()
        atexit.register(self.leave_alone)  # at the end Ray ends its parts

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Within it a Ray is started; its parts are looked after from their first moment on.

        If it did not start, how each part stood is logged, and those that still run are ended.
        """
        self._is_over = is_over = threading.Event()
        is_up = threading.Event()
        self._parts = {}
        before = psutil.Process().children()
        threading.Thread(
            target=self._watch, args=(is_up, is_over), name="parts of Ray", daemon=True
        ).start()
        try:
            yield
        except BaseException:
            self.forget()
            started = [child for child in psutil.Process().children() if child not in before]
            log.warning("ray_start_failed parts=%s", "; ".join(map(_state, started)) or "none")
            for part in started:
                with suppress(psutil.Error):
                    if part.name() in NAMES:
                        part.kill()
            raise
        self._parts.update(running())
        is_up.set()

    def check(self) -> None:
        """Returns while all run, or if there are none.

        Raises: RayBroken, naming the part that does not.
        """
        if (lost := self._lost()) is not None:
            self.leave_alone()  # it is known now
            raise _error(*lost)

    def are_running(self) -> bool:
        """Whether none has ended."""
        return self._lost() is None

    def all(self) -> list[psutil.Process]:
        """The processes."""
        return list(self._parts)

    def leave_alone(self) -> None:
        """From now on it is no loss if one ends."""
        self._is_over.set()

    def forget(self) -> None:
        """From now on there are none."""
        self.leave_alone()
        self._parts = {}

    def _lost(self) -> tuple[psutil.Process, str] | None:
        parts = list(self._parts.items())
        return next(((one, task) for one, task in parts if not is_alive(one)), None)

    def _watch(self, is_up: threading.Event, is_over: threading.Event) -> None:
        end_at = None
        while not is_over.wait(_LOOK_S):
            if not is_up.is_set():
                self._parts.update(running())
            if (lost := self._lost()) is None:
                continue
            if end_at is None:
                at_once = is_up.is_set() or _was_killed(lost[0])
                end_at = time.monotonic() + (self._unnoticed_s if at_once else self._starting_s)
            if time.monotonic() >= end_at and when_lost is not None:
                when_lost(_error(*lost))
                return


def _error(lost: psutil.Process, task: str) -> RayBroken:
    return RayBroken(
        f"a part of the local Ray has ended: {task} (process {lost.pid})",
        "it to run until the end",
        "run the same command again, finished work is kept; if it ends again, look whether "
        "memory ran out (`dmesg | tail`)",
    )


def _state(child: psutil.Process) -> str:
    """How a child stands that should have started: busy, waiting for a disk, ended by a signal."""
    try:
        with child.oneshot():
            name = f"{child.name()} {child.pid} {child.status()}"
        if (ended := _ended(child)) is not None:
            how = "exit code" if ended.si_code == os.CLD_EXITED else "signal"
            return f"{name}, {how} {ended.si_status}"
        times = child.cpu_times()
        return f"{name}, {times.user + times.system:.1f} s of CPU"
    except psutil.Error as error:
        return str(error)


def _was_killed(process: psutil.Process) -> bool:
    """Whether a child ended by SIGKILL; False too if somebody has waited for it already."""
    ended = _ended(process)
    return (
        ended is not None and ended.si_status == signal.SIGKILL and ended.si_code != os.CLD_EXITED
    )


def _ended(child: psutil.Process) -> os.waitid_result | None:
    """How it ended; None if it runs, or somebody has waited for it. Whoever waits still can."""
    try:
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None


def running() -> Iterator[tuple[psutil.Process, str]]:
    """The parts that are this process's children; a raylet's forks have its name for a moment."""
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if process.name() in NAMES:
                yield process, NAMES[process.name()]
