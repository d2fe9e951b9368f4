"""A process that has ended, and whose id a thread has got since."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def reused_by_a_thread() -> Iterator[psutil.Process]:
    """Its id is a thread's of this process within the block."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            process = psutil.Process(child.pid)
            child.communicate(b"\n")
        # The system gives ids in turn; waiting for this one would take all of them.
        process._pid = process._proc.pid = thread.native_id  # type: ignore[attr-defined]
        yield process
    finally:
        ended.set()
        thread.join()
