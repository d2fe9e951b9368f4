"""Records the runs of this process in Prefect's own database, while they go on.

Where no Prefect server is configured, a run needs none: it goes on in plain calls, and a process of
its own (`record_process.py`) writes runs, phases, their states and artifacts, with their times, to
the database that `prefect server start` shows. The run never waits for it, and goes on without it.
"""

from __future__ import annotations

import atexit
import json
import logging
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Lock, Thread
from typing import IO, Any

from mrag_pipeline.errors import first_line

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "mrag_pipeline.flows.record_process")
STARTS = 3  # of a recorder that is killed
ERRORS = 2  # of a recorder, which a locked database may be once
LAST_S = 90.0  # for what is left to write when this process ends

_current: ContextVar[RunRecord | None] = ContextVar("run_record", default=None)
_run: ContextVar[str] = ContextVar("run", default="")
_task: ContextVar[str] = ContextVar("task", default="")

_lock = Lock()  # of the lists below, and of what says whether a record takes runs
_unwritten: list[RunRecord] = []  # in the order in which they are written
_turn = Lock()  # one process writes at a time


def current() -> RunRecord | None:
    """The record of the runs that start in this context; None if there is none."""
    return _current.get()


@contextmanager
def kept() -> Iterator[None]:
    """Runs that start within it are recorded; what is left to write is written after it."""
    record = _joined()
    if record is None:
        yield
        return
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)
        record.leave()


def wait(timeout_s: float = LAST_S) -> None:
    """Returns when everything is written; tells the log what could not be."""
    until = time.monotonic() + timeout_s
    with _lock:
        records = list(_unwritten)
        for record in records:
            record.close()
    for record in records:
        record.wait(until - time.monotonic())
    with _lock:  # until all are given up, no other process is started
        late = [record for record in records if record.give_up()]
    if late:
        not_recorded(f"Prefect took more than {timeout_s:g} s")


def not_recorded(reason: str) -> None:
    """Tells the log that a run goes on without a record."""
    log.warning("run_not_recorded reason=%r", reason)


def _joined() -> RunRecord | None:
    """The record that takes runs: the last, if its process waits for its turn or others use it."""
    with _lock:
        record = _unwritten[-1] if _unwritten else None
        if record is None or not record.is_open:
            record = RunRecord()
            try:
                record.start()
            except RuntimeError as error:  # no more threads
                not_recorded(str(error))
                return None
            _unwritten.append(record)
            # Again, to be called before what was registered earlier.
            atexit.unregister(wait)
            atexit.register(wait)
        record.join()
        return record


class RunRecord:
    """Sends what happens to the process that writes it; one that is killed is started again.

    It is out of reach of the terminal's Ctrl-C, and writes that a run has crashed if this process
    ends without a word. There is one at a time: a record of runs that start meanwhile is written
    after it.
    """

    def __init__(self) -> None:
        self.is_open = True
        self._num_keepers = 0
        self._sent: list[str] = []
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._is_over = self._is_done = self._has_given_up = False
        self._process: subprocess.Popen[str] | None = None
        # A daemon: at the end `wait` says for how long it is waited for.
        self._writer = Thread(target=self._write, name="run-record", daemon=True)

    def start(self) -> None:
        """Starts the process when it is its turn; it takes seconds to be there."""
        self._writer.start()

    def join(self) -> None:
        """One more block's runs are recorded. The caller holds the lock."""
        self._num_keepers += 1

    def leave(self) -> None:
        """One block less; the last one ends the record, unless its turn is still to come."""
        with _lock:
            self._num_keepers -= 1
            if not self._num_keepers and self._process is not None:
                self.close()

    def close(self) -> None:
        """Takes no more runs. The caller holds the lock."""
        self.is_open = False
        self._waiting.put(None)

    def wait(self, timeout_s: float) -> None:
        """Returns when it is written, or that time is over."""
        self._writer.join(max(0.0, timeout_s))

    def give_up(self) -> bool:
        """Ends the process that has not written everything; says whether that is so.

        The caller holds the lock.
        """
        if self._is_done:
            return False
        self._has_given_up = True
        if self._process is not None:
            self._process.kill()
        return True

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
        self._send_state("AwaitingRetry", message, task=_task.get())

    def resumes(self) -> None:
        """The current task is tried again."""
        self._send_state("Running", "", task=_task.get())

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
            self._send_state(state, message, **{kind: value})

    def _send_state(self, state: str, message: str, **owner: str) -> None:
        self._send(what="state", id=str(uuid.uuid4()), state=state, message=message, **owner)

    def _send(self, **message: Any) -> None:
        at = datetime.now(UTC).isoformat()
        if not self._is_done:
            self._waiting.put(json.dumps({"at": at, **message}, default=str) + "\n")

    def _write(self) -> None:
        reason = ""
        with _turn:
            try:
                with tempfile.TemporaryFile() as words:
                    reason = self._reason(words)
            except (OSError, RuntimeError) as error:  # no temporary folder, no more processes
                reason = first_line(error)
            with _lock:
                self.is_open = False
                self._is_done = True
                self._sent.clear()
                _unwritten.remove(self)
        if reason and not self._has_given_up:
            not_recorded(reason)

    def _reason(self, words: IO[bytes]) -> str:
        """Why it could not be written; empty if it was.

        Sends lines as they come, and all of them again to a process that takes another's place.
        """
        num_errors = 0
        for start in range(STARTS):
            if start:
                log.warning("run_record_restarted reason=%r", _last_line(words))
            process = self._started(words)
            if process is None or self._is_written(process):
                return ""
            num_errors += process.returncode > 0
            if num_errors == ERRORS or self._has_given_up:
                break
        return _last_line(words)

    def _is_written(self, process: subprocess.Popen[str]) -> bool:
        pipe = process.stdin
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
        if not self._sent:
            process.kill()  # no run has started: it has touched nothing yet
        with suppress(OSError):
            pipe.close()
        return process.wait() == 0 or not self._sent

    def _started(self, words: IO[bytes]) -> subprocess.Popen[str] | None:
        with _lock:
            if self._has_given_up:
                return None
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=words,
                stderr=words,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
            if not self._num_keepers and self.is_open:
                self.close()  # they have ended before its turn came
            return self._process


def _last_line(words: IO[bytes]) -> str:
    words.seek(0)
    lines = words.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def state_of(error: BaseException) -> str:
    """What Prefect calls the end of a run by this error."""
    return "Failed" if isinstance(error, Exception) else "Crashed"
