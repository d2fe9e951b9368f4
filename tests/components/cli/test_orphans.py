"""What a killed command leaves running, and what one that ends does not touch."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from mrag_pipeline.cli.orphans import alive_after

STARTS = """
import subprocess, sys, time
from mrag_pipeline.cli.orphans import guard
guard()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                         start_new_session=True)
print(child.pid, flush=True)
if sys.argv[1] == "killed":
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_what_a_killed_command_has_started_is_ended(how: str) -> None:
    """A process in a session of its own too; what another command has started is not touched."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    command = subprocess.Popen(
        [sys.executable, "-c", STARTS, how], stdout=subprocess.PIPE, text=True
    )
    child = None
    try:
        assert command.stdout is not None
        child = psutil.Process(int(command.stdout.readline()))
        watches = [
            one for one in psutil.Process(command.pid).children() if "orphans" in str(one.cmdline())
        ]
        if how == "killed":
            command.kill()
        command.wait(30)
        gone, alive = psutil.wait_procs([child], timeout=20 if how == "killed" else 4)
        assert [child] == (gone if how == "killed" else alive)
        assert psutil.wait_procs(watches, timeout=20)[1] == []
        assert other.poll() is None
    finally:
        if child is not None and child.is_running():
            child.kill()
        for one in (command, other):
            one.kill()
            one.communicate()


def test_who_does_not_end_is_told() -> None:
    """After so long."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as waiting:
        process = psutil.Process(waiting.pid)
        assert alive_after(0.2, [process]) == [process]
        waiting.communicate(b"\n")
        assert alive_after(20, [process]) == []
