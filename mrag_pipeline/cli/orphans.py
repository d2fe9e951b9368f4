"""Has ended what a killed command would leave running, such as Ray's agents.

Every process that a command starts inherits a mark in its environment. A small watcher, the script
`processes.py`, reads from a pipe that the command holds open; if the pipe closes without a message,
the command was killed, and the watcher ends the processes with its mark.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import uuid

from mrag_pipeline import processes


def guard() -> None:
    """Makes sure that what this process starts outlives it by a few seconds at most."""
    if os.environ.get(processes.MARK, "").startswith(f"{os.getpid()}-"):
        return
    from mrag_pipeline.cli import interrupts
    from mrag_pipeline.runtime import parts

    parts.when_lost = interrupts.end_with  # what it has started then has this process's mark
    mark = os.environ[processes.MARK] = f"{os.getpid()}-{uuid.uuid4().hex}"
    watch = subprocess.Popen(
        # -P: what the script imports is not looked for in its folder, our package.
        [sys.executable, "-P", processes.__file__, mark],
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
