"""What workers log goes to the log of the run's process: with their answers, each line once.

A worker's standard error is a file of Ray's on the worker's node. So a worker also keeps the lines
that it logs, and its next answer, or error, brings them. That needs no port and no process more,
and works wherever answers arrive. It is bounded: a worker that logs too much is cut short, and the
number of lines that it left out is told; they are in Ray's file all the same.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

log = logging.getLogger(__name__)

AT_ONCE = 100  # lines of a worker that was quiet before
A_SECOND = 1.0  # lines more of it, from then on
MOST_CHARS = 2_000  # of a line, its stack included
OURS = "mrag_pipeline"  # the logger above all of the package's
_ATTRIBUTE = "mrag_worker_lines"  # of an error
_IN_THE_FILE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log."""

    logger: str
    level: int
    said_at: float  # Unix time, by the worker's clock
    text: str


@dataclass(frozen=True, slots=True)
class Lines:
    """What a worker logged since its last answer."""

    lines: tuple[Line, ...] = ()
    num_left_out: int = 0
    worker: int = 0  # its process id


NO_LINES = Lines()


@dataclass(frozen=True, slots=True)
class Done:
    """An answer, and what was logged meanwhile."""

    answer: Any
    lines: Lines = NO_LINES


class LineBuffer(logging.Handler):
    """Keeps what is logged until it is taken: AT_ONCE lines, then A_SECOND."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Keeps nothing yet."""
        super().__init__()
        self._clock = clock
        self._lock = Lock()
        self._lines: list[Line] = []
        self._num_left_out = 0
        self._allowed = float(AT_ONCE)
        self._allowed_at = clock()

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the record, or counts it."""
        with self._lock:
            if not self._is_allowed():
                self._num_left_out += 1
                return
        try:
            text = self.format(record)[:MOST_CHARS]
        except Exception:  # as the standard library's handlers do
            self.handleError(record)
            return
        with self._lock:
            self._lines.append(Line(record.name, record.levelno, record.created, text))

    def taken(self) -> Lines:
        """What was kept since the last time."""
        with self._lock:
            num_left_out = 0
            # Many short items would make a flood of these numbers alone.
            if self._num_left_out and (self._lines or self._is_allowed()):
                num_left_out, self._num_left_out = self._num_left_out, 0
            lines, self._lines = tuple(self._lines), []
        return Lines(lines, num_left_out, os.getpid())

    def give_to(self, error: BaseException) -> None:
        """The error brings what was kept; the next answer does if the error cannot."""
        lines = self.taken()
        try:
            setattr(error, _ATTRIBUTE, lines)
        except (AttributeError, TypeError):  # it has slots
            with self._lock:
                self._lines[:0] = lines.lines
                self._num_left_out += lines.num_left_out

    def _is_allowed(self) -> bool:
        """Whether one more line is; it is then used up."""
        now = self._clock()
        more = (now - self._allowed_at) * A_SECOND
        self._allowed, self._allowed_at = min(AT_ONCE, self._allowed + more), now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True


def kept_here(level: int) -> LineBuffer:
    """Keeps what this process, a worker, logs from now on; Ray's file has it as before.

    Args:
        level: the least of the package's own lines; others' are kept from WARNING on.
    """
    buffer = LineBuffer()
    in_the_file = logging.StreamHandler()
    in_the_file.setFormatter(logging.Formatter(_IN_THE_FILE))
    for handler in (in_the_file, buffer):
        logging.getLogger().addHandler(handler)
    logging.getLogger(OURS).setLevel(level)
    return buffer


def level_here() -> int:
    """The least level that the log of this process takes of the package's lines."""
    return logging.getLogger(OURS).getEffectiveLevel()


def log_lines(lines: Lines, node: str) -> None:
    """Logs what a worker of the node has logged, under the names of its loggers.

    Each line begins with `node=ADDRESS/ID worker=PROCESS`; its record has both as attributes.
    """
    for line in lines.lines:
        logger = logging.getLogger(line.logger)
        if logger.isEnabledFor(line.level):
            logger.handle(_record(line, node, lines.worker))
    if lines.num_left_out:
        facts = node, lines.worker, lines.num_left_out
        log.warning("worker_lines_left_out node=%s worker=%d lines=%d", *facts)


def log_lines_of(error: BaseException, node: str) -> None:
    """Logs what came with an error from a worker, once."""
    lines = getattr(error, _ATTRIBUTE, None)
    if isinstance(lines, Lines):
        with suppress(AttributeError):
            delattr(error, _ATTRIBUTE)
        log_lines(lines, node)


def _record(line: Line, node: str, worker: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": line.logger,
            "levelno": line.level,
            "levelname": logging.getLevelName(line.level),
            "msg": f"node={node} worker={worker} {line.text}",
            "created": line.said_at,
            "msecs": line.said_at % 1 * 1_000,
            "process": worker,
            "node": node,
            "worker": worker,
        }
    )
