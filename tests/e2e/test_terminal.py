"""The command in a real terminal: Ctrl-C in each phase, and helpers that are killed."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mrag_pipeline.processes import alive_after
from tests.support.project_folder import (
    ROOT,
    TIMEOUT_S,
    Undisturbed,
    contents,
    environment,
    receipts,
    run,
    staged_files,
    write_lines,
)
from tests.support.served_project import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CTRL_C = b"\x03"
WATCHED = "tests.support.watched_command"
END_S = 5.0  # that a command has to end; it ends hard what has not ended in order after 3 s
SEEN_S = 10.0  # that a lost part of Ray has to be noticed


def allowed(seconds: float) -> float:
    """As long as that; where each core has more than one process to run, in proportion longer."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Terminal:
    """A terminal in which the command runs, the leader of its process group as in a shell."""

    def __init__(self, *arguments: str, cwd: Path, phases: Path | None = None) -> None:
        """Runs it there.

        Args:
            phases: to this file it appends the name of each phase as it begins.
        """
        words = ["mrag_pipeline.cli"] if phases is None else [WATCHED, str(phases)]
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            command = [sys.executable, "-m", *words, *arguments]
            path = {"PYTHONPATH": str(ROOT)}
            os.execve(sys.executable, command, environment() | path)
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
        began = time.monotonic()
        while True:
            self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            passed = time.monotonic() - began
            if pid:
                while self.read():
                    pass
                print(f"ended after {passed:.1f} s of {seconds:g} s, load {os.getloadavg()[0]:.1f}")
                return os.waitstatus_to_exitcode(status)
            assert passed < allowed(seconds), f"still running: {self.shown[-2000:]}"

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


def interrupted(terminal: Terminal, code: int, *words: str) -> None:
    """Ctrl-C ends it in time, with these words, no traceback, and nothing left running."""
    started = psutil.Process(terminal.pid).children(recursive=True)
    terminal.type(CTRL_C)
    assert terminal.code(END_S) == code
    for word in words:
        assert word in terminal.shown
    assert "Traceback" not in terminal.shown
    alive = alive_after(allowed(15), started)
    assert alive == []


@pytest.mark.parametrize(
    "phase", ["start", "plan", "embed", "reconcile", "load", "verify", "calibrate", "publish"]
)
def test_ctrl_c_in_each_phase(
    phase: str, undisturbed: Undisturbed, disturbed: Path, tmp_path: Path
) -> None:
    """130 within seconds, with how to go on."""
    phases = tmp_path / "phases"
    phases.touch()
    terminal = Terminal("ingest", cwd=disturbed, phases=phases)
    if phase == "start":
        terminal.until(lambda: bool(psutil.Process(terminal.pid).children()))
    elif phase == "embed":
        terminal.until(lambda: receipts(disturbed) >= 1)
    elif phase == "reconcile":
        terminal.until(shows(terminal, "reconcile"))
    elif phase == "load":
        terminal.until(lambda: collections_in(disturbed) >= 1)
    else:
        terminal.until(lambda: phase in phases.read_text().split())
    interrupted(terminal, 130, "run the same command again")


def test_ctrl_c_in_the_gate(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Of a version that would replace a live one, which stays."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    live = run("versions", "--json", cwd=project, log=tmp_path / "before").json()["live"]
    phases = tmp_path / "phases"
    phases.touch()
    other = ("-s", "chunking.max_tokens=100", "-s", "workers.pool=serial")
    terminal = Terminal("ingest", *other, cwd=project, phases=phases)
    terminal.until(lambda: "gate" in phases.read_text().split())
    interrupted(terminal, 130, "run the same command again")
    after = run("versions", "--json", cwd=project, log=tmp_path / "after").json()
    assert (after["live"], len(after["versions"])) == (live, 2)


@pytest.mark.parametrize("phase", ["compare", "embed", "apply"])
def test_ctrl_c_in_each_phase_of_a_sync(
    phase: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """130 within seconds; the same command brings the index up to date."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    write_lines(project / "corpus" / "more.jsonl", range(1000, 1040))
    phases = tmp_path / "phases"
    phases.touch()
    terminal = Terminal("sync", cwd=project, phases=phases)
    terminal.until(lambda: phase in phases.read_text().split())
    interrupted(terminal, 130, "run the same command again")
    again = run("sync", "--json", cwd=project, log=tmp_path / "again")
    assert again.code == 0, again.err
    audited = run("audit", cwd=project, log=tmp_path / "audit")
    assert audited.code == 0, audited.out + audited.err


@pytest.mark.parametrize("backend", ["process", "ray"])
@pytest.mark.parametrize("phase", ["start", "ready"])
def test_ctrl_c_ends_a_service(
    backend: str, phase: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """130 while it starts; 0 when it is ready, for then Ctrl-C is how to stop it."""
    project = shutil.copytree(undisturbed.project, tmp_path / "project")
    port = free_port()
    words = ("serve", "--port", str(port), "-s", f"serve.backend={backend}")
    terminal = Terminal(*words, cwd=project)
    if phase == "ready":
        terminal.until(shows(terminal, f"http://127.0.0.1:{port}"))
        interrupted(terminal, 0)
        return
    if backend == "ray":
        terminal.until(lambda: terminal.has("raylet/raylet"))
    else:
        time.sleep(1)  # it imports, or loads its model
    interrupted(terminal, 130, "interrupted")


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
    assert terminal.code(SEEN_S) == 8
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
    assert terminal.code(SEEN_S) == 8
    assert "a part of the local Ray has ended" in terminal.shown
    assert "Traceback" not in terminal.shown


@pytest.mark.parametrize("part", ["raylet/raylet", "gcs_server"])
def test_a_service_that_lost_a_part_of_its_ray_ends(part: str, undisturbed: Undisturbed) -> None:
    """It would live on, and answer nobody."""
    ray = ("-s", "serve.backend=ray")
    port = str(free_port())
    terminal = Terminal("serve", "--port", port, *ray, cwd=undisturbed.project)
    terminal.until(shows(terminal, f"http://127.0.0.1:{port}"))
    terminal.helper(part).kill()
    assert terminal.code(SEEN_S) == 8
    assert "a part of the local Ray has ended" in terminal.shown
    assert "Traceback" not in terminal.shown
