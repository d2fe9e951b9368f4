"""What a killed command leaves running, and what one that ends does not touch."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from mrag_pipeline import processes

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
            started
            for started in psutil.Process(command.pid).children()
            if processes.__file__ in started.cmdline()
        ]
        if how == "killed":
            command.kill()
        command.wait(30)
        assert watches
        alive = processes.alive_after(20 if how == "killed" else 4, [child])
        assert alive == ([] if how == "killed" else [child])
        assert processes.alive_after(20, watches) == []
        assert other.poll() is None
    finally:
        if child is not None and child.is_running():
            child.kill()
        for one in (command, other):
            one.kill()
            one.communicate()
