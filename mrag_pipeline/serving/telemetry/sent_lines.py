"""Log lines that are sent to a stream by a thread of their own: whoever logs never waits.

A stream is a UNIX socket, a pipe or a file. While it takes no lines, they are kept up to a limit;
then new ones are dropped, counted, and the count is sent when the stream takes lines again.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

KEPT_BYTES = 8 * 1024 * 1024
RETRY_S = 0.5
FLUSH_S = 1.0  # that lines have to be sent when the process ends


def lines_lost(number: int) -> str:
    """The line that tells how many were dropped."""
    return f"log_lines_lost lines={number}"


class SentLines(logging.Handler):
    """A handler that sends each record to the stream at a path."""

    def __init__(
        self,
        path: Path,
        lost: Callable[[int], str] = lines_lost,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """Sends from now on; the stream is opened with the first record.

        Args:
            lost: the line that tells how many were dropped.
            kept_bytes: how much is kept while the stream takes nothing.
        """
        super().__init__()
        self._path = path
        self._lost_line = lost
        self._kept_bytes = kept_bytes
        self._waiting: deque[bytes] = deque()
        self._size = 0  # bytes that wait or are being sent
        self._num_lost = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the record for the thread; drops it if too much is kept."""
        try:
            line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
        except Exception:
            self.handleError(record)
            return
        with self._changed:
            if self._size + len(line) > self._kept_bytes:
                self._num_lost += 1
                return
            self._keep(line)

    def flush(self) -> None:
        """Returns when all is sent, also how many lines were dropped; or after FLUSH_S."""
        with self._changed:
            self._tell_lost()
            self._changed.wait_for(lambda: not self._size or self._is_closed, FLUSH_S)

    def close(self) -> None:
        """Sends no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        super().close()

    def _run(self) -> None:
        stream: _Stream | None = None
        while (lines := self._next()) is not None:
            while not self._is_closed:
                try:
                    stream = stream or _opened(self._path)
                    stream.send(lines)
                    break
                except OSError:  # nobody reads at the moment
                    if stream is not None:
                        stream.close()
                    stream = None
                    time.sleep(RETRY_S)
            with self._changed:
                self._size -= len(lines)
                self._tell_lost()
                self._changed.notify_all()
        if stream is not None:
            stream.close()

    def _keep(self, line: bytes) -> None:
        """Appends the line to those that wait; the lock is held."""
        self._waiting.append(line)
        self._size += len(line)
        self._changed.notify_all()

    def _tell_lost(self) -> None:
        """Lets the number of dropped lines wait like a line, if any were; the lock is held."""
        if self._num_lost:
            self._keep(f"{self._lost_line(self._num_lost)}\n".encode())
            self._num_lost = 0

    def _next(self) -> bytes | None:
        """The next lines, as one; None when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if self._is_closed:
                return None
            return self._waiting.popleft()


class _Stream:
    """An open stream."""

    def __init__(self, send: Callable[[bytes], object], close: Callable[[], None]) -> None:
        self.send, self._close = send, close

    def close(self) -> None:
        with suppress(OSError):
            self._close()


def _opened(path: Path) -> _Stream:
    if not stat.S_ISSOCK(path.stat().st_mode):
        # Without O_NONBLOCK a named pipe that nobody reads would never be opened.
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
        os.set_blocking(file, True)
        return _Stream(lambda data: _write_all(file, data), lambda: os.close(file))
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return _Stream(connection.sendall, connection.close)


def _write_all(file: int, data: bytes) -> None:
    """Writes it in one piece, as far as other replicas are concerned.

    A pipe takes more than PIPE_BUF bytes in pieces, and other processes' writes may come between:
    so all of ours hold a lock on it, the short ones too. It is let go if this process is killed.
    """
    with _locked(file):
        while data:
            data = data[os.write(file, data) :]


@contextmanager
def _locked(file: int) -> Iterator[None]:
    is_locked = False
    with suppress(OSError):  # a file system without locks: written without one
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
            is_locked = True
    try:
        yield
    finally:
        if is_locked:
            fcntl.flock(file, fcntl.LOCK_UN)
