"""Records the runs of this process in Prefect's own database, while they go on.

Where no Prefect server is configured, a run needs none: it goes on in plain calls, and a process of
its own (`record_process.py`) writes runs, phases, their states and artifacts, with their times, to
the database that `prefect server start` shows. The run never waits for it.
"""

from __future__ import annotations

import atexit
import json
import logging
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "mrag_pipeline.flows.record_process")
STARTS = 3
LAST_S = 90.0  # for what is left to write when this process ends

_current: ContextVar[RunRecord | None] = ContextVar("run_record", default=None)
_run: ContextVar[str] = ContextVar("run", default="")
_task: ContextVar[str] = ContextVar("task", default="")


def current() -> RunRecord | None:
    """The record of the runs that start in this context; None if there is none."""
    return _current.get()


class RunRecord:
    """Sends what happens to the process that writes it; one that is killed is started again.

    It is out of reach of the terminal's Ctrl-C, and writes that a run has crashed if this process
    ends without a word.
    """

    def __init__(self) -> None:
        """Starts the process, which takes seconds to be there."""
        self._sent: list[str] = []
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._is_over = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - the process writes to it
        self._process = self._started()
        # A daemon: at the end `wait` says for how long it is waited for.
        self._writer = Thread(target=self._write, name="run-record", daemon=True)
        self._writer.start()
        atexit.register(self.wait)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Runs that start within it are recorded; what is left to write is written after it."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            self._waiting.put(None)

    @contextmanager
    def run(self, name: str, parameters: Mapping[str, Any]) -> Iterator[str]:
        """A run of a flow while the block runs; gives its id."""
        run = str(uuid.uuid4())
        facts = {"run": run, "flow": name, "parameters": dict(parameters)}
        yield from self._going_on(_run, run, facts)

    @contextmanager
    def task(self, name: str) -> Iterator[str]:
        """A task of the current run while the block runs; gives its id."""
        task = str(uuid.uuid4())
        yield from self._going_on(_task, task, {"run": _run.get(), "task": task, "name": name})

    def repeats(self, message: str) -> None:
        """The current task has failed, and is tried again later."""
        self._send(what="state", task=_task.get(), state="AwaitingRetry", message=message)

    def resumes(self) -> None:
        """The current task is tried again."""
        self._send(what="state", task=_task.get(), state="Running", message="")

    def artifact(self, kind: str, key: str, value: object, about: str | None = None) -> str:
        """Creates an artifact of the current run and task; returns its id."""
        artifact = str(uuid.uuid4())
        facts = {"kind": kind, "key": key, "value": value, "about": about}
        owner = {"run": _run.get(), "task": _task.get()}
        self._send(what="artifact", artifact=artifact, **facts, **owner)
        return artifact

    def update(self, artifact: str, value: object) -> None:
        """Gives an artifact another value."""
        self._send(what="update", artifact=artifact, value=value)

    def wait(self, timeout_s: float = LAST_S) -> None:
        """Returns when everything is written; tells the log what could not be."""
        atexit.unregister(self.wait)
        self._waiting.put(None)
        self._writer.join(timeout_s)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            log.warning("run_not_recorded reason='Prefect took more than %g s'", timeout_s)
        elif self._process.returncode:
            log.warning("run_not_recorded reason=%r", self._last_words())

    def _going_on(
        self, variable: ContextVar[str], value: str, facts: Mapping[str, Any]
    ) -> Iterator[str]:
        kind = variable.name
        self._send(what=kind, **facts)
        token = variable.set(value)
        state, message = "Completed", ""
        try:
            yield value
        except BaseException as error:
            state, message = state_of(error), str(error)
            raise
        finally:
            variable.reset(token)
            self._send(what="state", state=state, message=message, **{kind: value})

    def _send(self, **message: Any) -> None:
        at = datetime.now(UTC).isoformat()
        self._waiting.put(json.dumps({"at": at, **message}, default=str) + "\n")

    def _write(self) -> None:
        """Writes lines as they come; all of them again to a process that takes another's place."""
        for start in range(STARTS):
            if start:
                log.warning("run_record_restarted reason=%r", self._last_words())
                self._process = self._started()
            if self._is_written() or self._process.returncode > 0:
                return  # an error of its own would come again

    def _is_written(self) -> bool:
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(OSError):  # it has ended
            pipe.writelines(self._sent)
            pipe.flush()
            while not self._is_over:
                line = self._waiting.get()
                if line is None:
                    self._is_over = True
                else:
                    self._sent.append(line)
                    pipe.write(line)
                    pipe.flush()
        with suppress(OSError):
            pipe.close()
        return self._process.wait() == 0

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def state_of(error: BaseException) -> str:
    """What Prefect calls the end of a run by this error."""
    return "Failed" if isinstance(error, Exception) else "Crashed"
