"""What replicas log, on the standard output and error of the command that serves.

Ray keeps what its workers print in files of its session's folder, where no container's log driver
looks. So `serve.log_streams` names a folder with the streams `1` (request lines) and `2` (errors
with their stacks): sockets of `mrag serve`, which copies what it reads, or a pod's `/proc/1/fd`.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrag_pipeline.config import Config
from mrag_pipeline.serving.telemetry.sent_lines import SentLines

OUT, ERR = 1, 2
SERVE = "ray.serve"
END_S = 1.0  # that replicas' last lines are waited for
_POLL_S = 0.1
_READ_BYTES = 256 * 1024
_LONGEST_BYTES = 4 * 1024 * 1024  # a longer line is passed on in pieces


# ------------------------------------------------------------------ in a replica
def request_lines(folder: str) -> logging.Handler | None:
    """Sends request lines to the folder's stream; None if there is none on this machine."""
    path = _path(folder, OUT)
    return None if path is None else SentLines(path, _lines_lost)


def send_errors(folder: str) -> None:
    """Warnings, errors and their stacks go to the folder's stream, if it is on this machine.

    As Python prints them in a process that configures no logging, as one-process `mrag serve` is.
    Of Serve's own logger, which keeps its records from the root's handlers, errors alone: among its
    warnings are callers who have left.
    """
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


def _lines_lost(number: int) -> str:
    return json.dumps({"event": "lines_lost", "lines": number})


# ------------------------------------------------------------------ in the command
class CopiedStream:
    """A socket whose connections' lines are copied to a file descriptor of this process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Can be connected to; copies after `begin`. What is sent before waits.

        Args:
            path: of the socket, 107 bytes at most.
        """
        self._descriptor = descriptor
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
        if not data:  # an unfinished line is sent again by a new connection, or was cut by a kill
            selector.unregister(connection)
            connection.close()
            del self._unfinished[connection]
            return
        lines, end, rest = (self._unfinished[connection] + data).rpartition(b"\n")
        if len(rest) > _LONGEST_BYTES:
            lines, rest = lines + end + rest, b""
        self._unfinished[connection] = rest
        self._write(lines + end)

    def _write(self, data: bytes) -> None:
        """By the descriptor: a thread that waits in `sys.stdout` would abort Python at its end."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                time.sleep(_POLL_S)
            except OSError:
                return  # nobody reads any more


class LogStreams:
    """The streams of a service whose output is this process's."""

    def __init__(self, folder: Path) -> None:
        """Replicas can connect; their errors are copied at once."""
        self.folder = str(folder)
        self._requests = CopiedStream(folder / str(OUT), OUT)
        self._errors = CopiedStream(folder / str(ERR), ERR)
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
