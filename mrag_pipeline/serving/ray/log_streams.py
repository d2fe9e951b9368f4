"""What replicas log, on the standard output and error of the command that serves.

Ray keeps what its workers print in files of its session's folder, where no container's log driver
looks. So `serve.log_streams` names a folder with the streams `1` (request lines) and `2` (errors
with their stacks): sockets of `mrag serve`, which copies what it reads, or a pod's `/proc/1/fd`.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import selectors
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from mrag_pipeline.config import Config
from mrag_pipeline.serving.telemetry.sent_lines import SentLines, lines_lost

log = logging.getLogger(__name__)

OUT, ERR = 1, 2
SERVE = "ray.serve"
END_S = 1.0  # that replicas' last lines are waited for
_POLL_S = 0.1
_READ_BYTES = 256 * 1024
_LONGEST_BYTES = 4 * 1024 * 1024  # a longer line is dropped and counted


# ------------------------------------------------------------------ in a replica
def request_lines(folder: str) -> logging.Handler | None:
    """Sends request lines to the folder's stream; None if there is none on this machine."""
    path = _path(folder, OUT)
    return None if path is None else SentLines(path, _request_lines_lost)


def send_errors(folder: str) -> None:
    """Warnings, errors and their stacks go to the folder's stream, if it is on this machine.

    Else a warning tells where they are, and the request lines with them.
    As Python prints them in a process that configures no logging, as one-process `mrag serve` is.
    Of Serve's own logger, which keeps its records from the root's handlers, errors alone: among its
    warnings are callers who have left.
    """
    if missing := [number for number in (OUT, ERR) if folder and _path(folder, number) is None]:
        log.warning("log_streams_not_writable folder=%s streams=%s kept_by=ray", folder, missing)
    path = _path(folder, ERR)
    if path is None:
        return
    handler = SentLines(path)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Stacks())
    handler.addFilter(lambda one: one.levelno >= logging.ERROR or one.name != SERVE)
    for logger in (logging.getLogger(), logging.getLogger(SERVE)):
        logger.addHandler(handler)


class _Stacks(logging.Formatter):
    """Formats stacks without `print`, which Serve has replaced by one that writes tuples."""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another handler's
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging's name)
        return "".join(traceback.format_exception(*ei)).rstrip("\n")


def _path(folder: str, number: int) -> Path | None:
    path = Path(folder) / str(number)
    return path if folder and os.access(path, os.W_OK) else None


def _request_lines_lost(number: int) -> str:
    return json.dumps({"event": "lines_lost", "lines": number})


# ------------------------------------------------------------------ in the command
class CopiedStream:
    """A socket whose connections' lines are copied to a file descriptor of this process."""

    def __init__(
        self, path: Path, descriptor: int | None, lost: Callable[[int], str] = lines_lost
    ) -> None:
        """Can be connected to; copies after `begin`. What is sent before waits.

        Args:
            path: of the socket, 107 bytes at most.
            descriptor: what is copied to; None: lines are read and dropped.
            lost: the line that tells how many could not be written, or were too long.
        """
        self._descriptor = descriptor
        self._lost_line = lost
        self._num_lost = 0
        self._is_cut = False  # whether what was written last is a part of a line
        self._too_long: set[socket.socket] = set()  # those whose line is dropped up to its end
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(128)
        self._socket.setblocking(False)
        self._unfinished: dict[socket.socket, bytes] = {}  # the beginning of each one's next line
        self._ends_at = float("inf")
        self._thread = threading.Thread(target=self._copy, name=f"log {path.name}", daemon=True)

    def begin(self) -> None:
        """Copies from now on; a second call does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Copies what is left of replicas that have ended; waits for others END_S at most."""
        self._ends_at = time.monotonic() + END_S
        self.begin()
        # It cannot be ended while whoever reads this process's output takes nothing.
        self._thread.join(END_S + 1)

    def _copy(self) -> None:
        with selectors.DefaultSelector() as selector, self._socket, self._connections():
            selector.register(self._socket, selectors.EVENT_READ)
            while True:
                ready = selector.select(_POLL_S)
                for key, _ in ready:
                    if key.fileobj is self._socket:
                        self._accept(selector)
                    elif isinstance(key.fileobj, socket.socket):
                        self._read(key.fileobj, selector)
                if not ready:
                    self._write(b"")
                is_idle = not ready and not self._unfinished
                if time.monotonic() > self._ends_at or (is_idle and self._ends_at < float("inf")):
                    return

    @contextmanager
    def _connections(self) -> Iterator[None]:
        """Those that are open at its end are closed: their senders find that out."""
        try:
            yield
        finally:
            for connection in self._unfinished:
                connection.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        with suppress(OSError):
            connection, _ = self._socket.accept()
            connection.setblocking(False)
            self._unfinished[connection] = b""
            selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        try:
            data = connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        # A sender that is still there sends its record again by a new connection, from its first
        # line: the lines of a stack that were whole before may come twice.
        if not data:
            selector.unregister(connection)
            connection.close()
            del self._unfinished[connection]
            self._too_long.discard(connection)
            return
        if connection in self._too_long:
            _, end, data = data.partition(b"\n")
            if not end:
                return
            self._too_long.remove(connection)
        lines, end, rest = (self._unfinished[connection] + data).rpartition(b"\n")
        self._write(lines + end)
        if len(rest) > _LONGEST_BYTES:
            self._too_long.add(connection)
            self._num_lost += 1
            rest = b""
        self._unfinished[connection] = rest

    def _write(self, lines: bytes) -> None:
        """Writes how many were lost before, then these; counts those that cannot be written."""
        if self._num_lost:
            if self._left(f"{self._lost_line(self._num_lost)}\n".encode()):
                self._num_lost += lines.count(b"\n")
                return
            self._num_lost = 0
        self._num_lost += self._left(lines).count(b"\n")

    def _left(self, lines: bytes) -> bytes:
        """Writes the lines, the first on a line of its own; returns what could not be written.

        By the descriptor: a thread that waits in `sys.stdout` would abort Python at its end.
        """
        if self._descriptor is None:
            return b""
        data = b"\n" + lines if lines and self._is_cut else lines
        while data:
            try:
                num_written = os.write(self._descriptor, data)
            except BlockingIOError:
                time.sleep(_POLL_S)
            except OSError as error:
                nobody_reads = error.errno in (errno.EPIPE, errno.EBADF)
                return b"" if nobody_reads else data[-len(lines) :]  # a full disk, perhaps
            else:
                self._is_cut = not data[:num_written].endswith(b"\n")
                data = data[num_written:]
        return b""


class LogStreams:
    """The streams of a service whose output is this process's."""

    def __init__(self, folder: Path) -> None:
        """Replicas can connect; their errors are copied at once."""
        self.folder = str(folder)
        out, err = _copy_of(sys.__stdout__), _copy_of(sys.__stderr__)
        self._requests = CopiedStream(folder / str(OUT), out, _request_lines_lost)
        self._errors = CopiedStream(folder / str(ERR), err)
        self._errors.begin()

    def configured(self, config: Config) -> Config:
        """The config, with these streams unless it names others."""
        if config.serve.log_streams:
            return config
        return config.model_copy(update={"serve": replace(config.serve, log_streams=self.folder)})

    def show_requests(self) -> None:
        """Request lines are copied from now on: what the command itself prints stands first."""
        self._requests.begin()

    def close(self) -> None:
        """Copies the rest."""
        self._requests.close()
        self._errors.close()


def _copy_of(stream: TextIO | None) -> int | None:
    """Another descriptor of the stream, to the process's end; None if it was closed from the start.

    Then its number, 1 or 2, belongs to whichever file was opened first.
    """
    try:
        return None if stream is None else os.dup(stream.fileno())
    except (OSError, ValueError):
        return None


@contextmanager
def copied(folder: Path) -> Iterator[LogStreams]:
    """What replicas log within the block is copied to this process's output.

    Args:
        folder: a folder of this service's own.
    """
    streams = LogStreams(folder)
    try:
        yield streams
    finally:
        streams.close()
