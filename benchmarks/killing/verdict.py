"""What may come of a kill: how a command may end, in what time, and what it may say."""

from __future__ import annotations

import os
import signal

from killing import victims

HANG_S = 60.0  # the longest without a word after a kill, or after a killed server is back
# What a killed command leaves ends by then: Ray's agents try for 60 s to tell of the loss, even if
# nobody is left to be told.
LEFT_S = 90.0
BUSY = 2.0  # processes that want to run, for each core
LOST_PART = 8  # a part of Ray has ended
NO_INDEX = 5  # the index does not answer
FAILED = 2  # the Prefect server was not back in time


def told(code: int | None) -> str:
    """How a command ended, in the words of the table; None: it did not."""
    if code is None:
        return "hung"
    return "killed" if code == -signal.SIGKILL else f"exit {code}"


def allowed(victim: str) -> tuple[int, ...]:
    """The exit codes that a command may end with if this was killed; "": nothing was."""
    return {
        # 0, of all: its work was done already.
        victims.DRIVER: (0, -signal.SIGKILL),
        victims.RAYLET: (0, LOST_PART),
        victims.GCS: (0, LOST_PART),
        victims.MILVUS: (0, NO_INDEX),
        victims.PREFECT: (0, FAILED),
    }.get(victim, (0,))


def load_per_core() -> float:
    """How many processes want to run, for each core, on average of the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def faults_of(
    victim: str, code: int | None, silent_s: float, load: float, said: str, printed: str = ""
) -> list[str]:
    """What was wrong in how a command ended.

    Args:
        silent_s: the longest that it wrote nothing after the kill.
        load: of each core at its end. Above BUSY a silence says nothing of the command: see `late`.
        said: its standard error.
    """
    faults = []
    if code is None or (silent_s > HANG_S and load <= BUSY):
        faults.append(f"silent for {silent_s:.0f} s: {said[-500:]}")
    if code is not None and code not in allowed(victim):
        faults.append(f"ended by {code}: {said[-1500:]}")
    if "Traceback" in said + printed:
        faults.append(f"a traceback: {said[-3000:]}")
    return faults


def late(silent_s: float, load: float) -> list[str]:
    """A silence of over a minute on a machine that was too busy to judge it: to be repeated."""
    if silent_s <= HANG_S or load <= BUSY:
        return []
    return [f"silent for {silent_s:.0f} s, with {load:.1f} processes a core that wanted to run"]
