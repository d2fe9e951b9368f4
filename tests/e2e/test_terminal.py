"""The command in a real terminal: Ctrl-C in each phase, and helpers that are killed."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mrag_pipeline.cli.interrupts import GRACE_S
from tests.support.project_folder import (
    TIMEOUT_S,
    Undisturbed,
    contents,
    environment,
    receipts,
    staged_files,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CTRL_C = b"\x03"
# A busy machine takes its time to run the process at all.
END_S = GRACE_S + 5


class Terminal:
    """A terminal in which the command runs, the leader of its process group as in a shell."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            command = [sys.executable, "-m", "mrag_pipeline.cli", *arguments]
            os.execve(sys.executable, command, environment())
        self.shown = ""
        self._status: int | None = None

    def read(self, seconds: float = 0.1) -> bool:
        """Takes what is shown meanwhile; False once the terminal is closed."""
        if select.select([self._descriptor], [], [], seconds)[0]:
            try:
                data = os.read(self._descriptor, 65_536)
            except OSError:
                return False
            self.shown += data.decode("utf-8", "replace")
            return bool(data)
        return True

    def until(self, happened: Callable[[], bool]) -> None:
        """Returns when it has happened."""
        deadline = time.monotonic() + TIMEOUT_S
        while not happened():
            assert self.read(), self.shown[-2000:]
            assert time.monotonic() < deadline, self.shown[-2000:]

    def type(self, keys: bytes) -> None:
        """As if typed."""
        os.write(self._descriptor, keys)

    def code(self, seconds: float) -> int:
        """The exit code; fails if the command has not ended in time."""
        deadline = time.monotonic() + seconds
        while True:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                while self.read():
                    pass
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"still running: {self.shown[-2000:]}"

    def helper(self, *words: str) -> psutil.Process:
        """The process that the command has started and that has these words in its command."""
        for process in psutil.Process(self.pid).children(recursive=True):
            line = " ".join(process.cmdline())
            if all(word in line for word in words):
                return process
        raise AssertionError(f"no process with {words}")

    def has(self, *words: str) -> bool:
        """Whether there is such a process."""
        try:
            return bool(self.helper(*words))
        except (AssertionError, psutil.NoSuchProcess):
            return False


def shows(terminal: Terminal, text: str) -> Callable[[], bool]:
    return lambda: text in terminal.shown


def collections_in(project: Path) -> int:
    return len(list(project.glob(".mrag/index.db/collections/stories_v*")))


@pytest.mark.parametrize("phase", ["start", "plan", "embed", "load"])
def test_ctrl_c_in_each_phase(phase: str, undisturbed: Undisturbed, disturbed: Path) -> None:
    """130 within seconds, with how to go on, no traceback, and nothing left running."""
    terminal = Terminal("ingest", cwd=disturbed)
    terminal.until(lambda: bool(psutil.Process(terminal.pid).children()))
    family = psutil.Process(terminal.pid)
    if phase == "plan":
        terminal.until(shows(terminal, "plan"))
    elif phase == "embed":
        terminal.until(lambda: receipts(disturbed) >= 1)
    elif phase == "load":
        terminal.until(lambda: collections_in(disturbed) >= 1)
    started = family.children(recursive=True)
    terminal.type(CTRL_C)
    assert terminal.code(END_S) == 130
    assert "run the same command again" in terminal.shown
    assert "Traceback" not in terminal.shown
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []


def test_sigterm_while_embedding(undisturbed: Undisturbed, disturbed: Path) -> None:
    """143, no stack of Ray's."""
    terminal = Terminal("ingest", cwd=disturbed)
    terminal.until(lambda: receipts(disturbed) >= 1)
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.code(END_S) == 143
    for word in ("Traceback", "SIGTERM received"):
        assert word not in terminal.shown


def test_what_records_the_run_killed_while_embedding(
    undisturbed: Undisturbed, disturbed: Path
) -> None:
    """The run goes on, and ends in the index of an undisturbed one."""
    terminal = Terminal("ingest", cwd=disturbed)
    terminal.until(lambda: receipts(disturbed) >= 1)
    terminal.helper("mrag_pipeline.flows.record_process").kill()
    assert terminal.code(TIMEOUT_S) == 0
    assert "Traceback" not in terminal.shown
    assert staged_files(disturbed) == undisturbed.files
    assert contents(disturbed) == undisturbed.rows


@pytest.mark.parametrize("part", ["raylet/raylet", "gcs_server"])
def test_a_part_of_ray_killed_while_embedding(
    part: str, undisturbed: Undisturbed, disturbed: Path
) -> None:
    """Exit 8 in seconds, and its name; what was staged stays."""
    terminal = Terminal("ingest", cwd=disturbed)
    terminal.until(lambda: receipts(disturbed) >= 1)
    terminal.helper(part).kill()
    assert terminal.code(30) == 8
    assert "a part of the local Ray has ended" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert receipts(disturbed) >= 1


@pytest.mark.parametrize("part", ["raylet/raylet", "gcs_server"])
def test_a_part_of_ray_killed_while_ray_starts(part: str, disturbed: Path) -> None:
    """The same: what waits for it cannot be interrupted, and Ray's own end comes a minute later."""
    terminal = Terminal("ingest", cwd=disturbed)
    terminal.until(lambda: terminal.has("raylet/raylet"))
    time.sleep(1)
    terminal.helper(part).kill()
    assert terminal.code(30) == 8
    assert "a part of the local Ray has ended" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_a_service_whose_raylet_was_killed_ends(undisturbed: Undisturbed) -> None:
    """It would live on, and answer nobody."""
    ray = ("-s", "serve.backend=ray")
    terminal = Terminal("serve", "--port", "8765", *ray, cwd=undisturbed.project)
    terminal.until(shows(terminal, "http://127.0.0.1:8765"))
    terminal.helper("raylet/raylet").kill()
    assert terminal.code(30) == 8
    assert "a part of the local Ray has ended" in terminal.shown
    assert "Traceback" not in terminal.shown
