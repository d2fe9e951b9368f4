"""Starts commands by forking a process that has imported their libraries: a third of the CPU time.

`python warm_start.py` reads a command a line, as JSON, and writes a line when it has started and
one when it has ended. What a forked command does is what `watched_command.py` does; its imports
are done, its run is not recorded.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


class WarmStart:
    """The process that forks, seen from outside."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
        )
        self._codes: dict[int, int] = {}
        self._started: list[int] = []
        self._told = threading.Condition()
        self._one_start = threading.Lock()  # so that each is told its own process
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, **command: Any) -> Forked:
        """Starts one; `command` is what `_run` takes."""
        assert self._process.stdin is not None
        with self._one_start, self._told:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            while not self._started:
                assert self._told.wait(60), "the starter does not answer"
            return Forked(self._started.pop(), self)

    def code(self, pid: int, seconds: float) -> int | None:
        """A command's exit code; None if it runs."""
        with self._told:
            self._told.wait_for(lambda: pid in self._codes, seconds)
            return self._codes.get(pid)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what, pid, *code = line.split()
            with self._told:
                if what == "started":
                    self._codes.pop(int(pid), None)  # of an earlier process with this number
                    self._started.append(int(pid))
                else:
                    self._codes[int(pid)] = int(code[0])
                self._told.notify_all()


class Forked:
    """A forked command, as `subprocess.Popen` shows one."""

    def __init__(self, pid: int, starter: WarmStart) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._starter = starter

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self._starter.code(self.pid, 0)
        return self.returncode

    def wait(self) -> int:
        """Its exit code."""
        while self.poll() is None:
            self.returncode = self._starter.code(self.pid, 1)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        """SIGKILL; its process id stays its own until the starter has heard of its end."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


# ------------------------------------------------------------------ in the process that forks
def _import_all() -> None:
    from mrag_pipeline.flows import engine

    engine.HAS_PREFECT, engine._is_plain = False, True
    import milvus_lite  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import pymilvus  # noqa: F401
    import tokenizers  # noqa: F401

    import mrag_pipeline.cli
    import mrag_pipeline.encoder.light_encoder
    import mrag_pipeline.flows.audit
    import mrag_pipeline.flows.export
    import mrag_pipeline.flows.import_version
    import mrag_pipeline.flows.ingest
    import mrag_pipeline.flows.repair
    import mrag_pipeline.flows.retire
    import mrag_pipeline.flows.sync  # noqa: F401


def _run(
    phases: str, arguments: list[str], folder: str, out: str, err: str, env: dict[str, str]
) -> None:
    """The command, in this process, which is a fork; raises SystemExit."""
    from killing.watched_command import announce_to, cut_items
    from mrag_pipeline.__main__ import main

    signal.set_wakeup_fd(-1)
    for number, file in ((1, out), (2, err)):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    announce_to(Path(phases))
    cut_items()
    sys.argv = ["mrag", *arguments]
    main()
    raise SystemExit(0)


def _serve() -> None:
    _import_all()
    lock = threading.Lock()

    def ended(pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        with lock:
            sys.stdout.write(f"ended {pid} {os.waitstatus_to_exitcode(status)}\n")
            sys.stdout.flush()

    for line in iter(sys.stdin.readline, ""):
        with lock:
            pid = os.fork()
        if pid == 0:
            _run(**json.loads(line))
        with lock:
            sys.stdout.write(f"started {pid}\n")
            sys.stdout.flush()
        threading.Thread(target=ended, args=(pid,)).start()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    _serve()
