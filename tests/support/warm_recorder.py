"""Recorders of runs that a process with Prefect already imported forks: a fifth of the CPU time.

`python -m tests.support.warm_recorder` reads the input of a recorder in each line, as JSON; the
answer is a line with the recorder's exit code and what it wrote to standard error. The recorder's
module runs as in a process of its own, with fresh globals, except that Prefect is there.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

MODULE = "mrag_pipeline.flows.record_process"


class WarmRecorder:
    """The process that forks, seen from outside."""

    def __init__(self, environment: Mapping[str, str], cwd: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm_recorder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
            cwd=cwd,
        )

    def record(self, text: str) -> tuple[int, str]:
        """Runs a recorder that reads the text; its exit code and its standard error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        code, errors = json.loads(self._process.stdout.readline())
        return int(code), str(errors)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


# ------------------------------------------------------------------ in the process that forks
def _run() -> int:
    try:
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _forked(text: str) -> tuple[int, str]:
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as errors:
        given.write(text)
        given.seek(0)
        pid = os.fork()
        if pid == 0:
            os.dup2(given.fileno(), 0)
            os.dup2(errors.fileno(), 2)
            code = _run()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(pid, 0)
        errors.seek(0)
        return os.waitstatus_to_exitcode(status), errors.read()


def _serve() -> None:
    import mrag_pipeline.flows.record_process  # noqa: F401

    del sys.modules[MODULE]  # so that it is run, not found
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(_forked(json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
