"""Extracts markup in a process of its own, which is ended when a document takes too long.

Parsers of markup need hours for some short texts, and no thread can stop them: docutils takes 179 s
for 112 kB of unmatched quotes, HTML's own rules are quadratic in depth. The process's CPU time is
measured, not the time that passes, so that a busy machine sets no document aside.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO

import psutil

from mrag_pipeline.corpus.formats.charset import NotText
from mrag_pipeline.corpus.formats.extracted import Extracted
from mrag_pipeline.corpus.formats.extraction import extract
from mrag_pipeline.domain.dead_letters import PARSER_ENDED, TOO_SLOW

_LOOK_EVERY_S = 0.2
_STALLED = 20  # times the limit: a process that does nothing is ended too
_READ_BYTES = 1 << 20
_END = b"."  # the line after a file's last document
# In a parser's error: where an object lies in memory, which is different each time.
_ADDRESS = re.compile(r"(?:,? ?\bat)?,? ?\b(?:0x[0-9a-f]{6,}|\d{12,})\b", re.IGNORECASE)


class NotExtracted(Exception):
    """No text could be extracted; the message says why."""


class ExtractionProcess:
    """A process that reads one file at a time; started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def extract(
        self, data: bytes, suffix: str, encoding: str, limit_s: float
    ) -> Iterator[Extracted]:
        """As `extraction.extract`.

        Args:
            limit_s: CPU seconds that each document of the file may take.
        Raises: NotExtracted.
        """
        with self._lock:
            process = self._running()
            request = {"suffix": suffix, "encoding": encoding, "num_bytes": len(data)}
            is_done = False
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.write(data)
                process.stdin.flush()
                answers = _Answers(process, limit_s)
                while (answer := answers.next()) != _END:
                    if not answer:
                        raise BrokenPipeError
                    yield _result(answer)
                is_done = True
            except BrokenPipeError:
                status = process.wait()
                raise NotExtracted(f"{PARSER_ENDED} with status {status}") from None
            finally:
                if not is_done:  # also where the caller wants no more of the file
                    self._end()

    def close(self) -> None:
        """Ends the process, if there is one."""
        with self._lock:
            self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # after a fork the process is the parent's
            self._process = None
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process, self._owner = _started(), os.getpid()
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _started() -> subprocess.Popen[bytes]:
    # The same packages as here, wherever a worker's environment has put them.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )


class _Answers:
    """The lines that the process writes, each within its time."""

    def __init__(self, process: subprocess.Popen[bytes], limit_s: float) -> None:
        self._process, self._limit_s = process, limit_s
        self._unread = b""

    def next(self) -> bytes:
        """The next line, without its end; b"" if the process has ended.

        Raises: NotExtracted when the document takes too long.
        """
        process = self._process
        assert process.stdout is not None
        started, used_before = time.monotonic(), _cpu_s(process)
        parts = [self._unread]
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in parts[-1]:
                if selector.select(_LOOK_EVERY_S):
                    part = os.read(process.stdout.fileno(), _READ_BYTES)
                    parts.append(part)
                    if not part:
                        return b""
                    continue
                stalled = time.monotonic() - started > _STALLED * self._limit_s
                if stalled or _cpu_s(process) - used_before > self._limit_s:
                    raise NotExtracted(f"{TOO_SLOW} {self._limit_s:g} s (corpus.max_document_s)")
        line, _, self._unread = b"".join(parts).partition(b"\n")
        return line


def _cpu_s(process: subprocess.Popen[bytes]) -> float:
    try:
        times = psutil.Process(process.pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _result(answer: bytes) -> Extracted:
    values = json.loads(answer)
    if "problem" in values:
        raise NotExtracted(values["problem"])
    return Extracted(**{**values, "remarks": tuple(values["remarks"])})


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answers requests, one at a time, until there are no more."""
    while line := requests.readline():
        request = json.loads(line)
        data = requests.read(request["num_bytes"])
        for answer in _served(data, request):
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()
        answers.write(_END + b"\n")
        answers.flush()


def _served(data: bytes, request: dict[str, str]) -> Iterator[dict[str, object]]:
    try:
        for found in extract(data, request["suffix"], request["encoding"]):
            yield asdict(found)
    except NotText as error:
        yield {"problem": str(error)}
    except Exception as error:
        # Parsers of any input: whatever one of them raises, only this file is set aside.
        reason = _ADDRESS.sub("", (str(error).splitlines() or [""])[0])[:500]
        yield {"problem": f"no text could be extracted: {type(error).__name__}: {reason}"}


EXTRACTION = ExtractionProcess()  # one for each process that reads
atexit.register(EXTRACTION.close)

if __name__ == "__main__":
    answers, sys.stdout = sys.stdout.buffer, sys.stderr  # a parser that prints spoils no answer
    serve(sys.stdin.buffer, answers)
