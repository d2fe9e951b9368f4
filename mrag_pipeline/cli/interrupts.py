"""Ctrl-C and SIGTERM: the command stops in order, and within seconds.

A killed run is resumed by the same command, so nothing is lost by ending hard. What takes longer
than its time to stop (a library that waits, a server that has died) is not waited for: the process
ends, and the watcher of `orphans.py` ends what it had started.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from mrag_pipeline.errors import MragError

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
GRACE_S = 3.0
LAST_WORDS_S = 1.0  # that `when_cut_short` has

_MESSAGES = {
    INTERRUPTED: "interrupted; run the same command again to resume",
    TERMINATED: "terminated; run the same command again to resume",
}
_started = threading.Lock()

# Told before the process is ended without the main thread's say: whether by an error, and what is
# printed of it. A command sets it.
when_cut_short: Callable[[bool, str], object] | None = None


def message(code: object) -> str:
    """What to print before the exit with that code; empty if it was no signal."""
    return _MESSAGES.get(code, "") if isinstance(code, int) else ""


def heed() -> None:
    """Handles both signals from now on; a second call does nothing, nor one of another thread."""
    if threading.current_thread() is not threading.main_thread():
        return
    if not _started.acquire(blocking=False):
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _terminate)
    # Python's handlers wait for the main thread, which may be in a library; this socket does not.
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(heard, told), name="interrupts", daemon=True).start()


def are_heeded() -> bool:
    """Whether `heed` was called in this process."""
    return _started.locked()


def leave(code: int) -> NoReturn:
    """Ends the process at once, for commands that were stopped or have lost their Ray.

    What the libraries do at an interpreter's end takes them up to half a minute then, or crashes
    (seen: a segmentation fault in Ray); nothing is lost without it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def end_with(error: MragError) -> NoReturn:
    """Ends the process at once with the error, from any thread."""
    _end(str(error), error.exit_code)


def _end(said: str, code: int) -> NoReturn:
    if when_cut_short is not None:
        arguments = code not in _MESSAGES, said
        told = threading.Thread(target=when_cut_short, args=arguments, daemon=True)
        with suppress(RuntimeError):  # no more threads
            told.start()
            told.join(LAST_WORDS_S)
    show_cursor = "\x1b[?25h" if os.isatty(2) else ""  # a progress bar has hidden it
    os.write(2, f"{show_cursor}mrag: {said}\n".encode())
    os._exit(code)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)


def _watch(heard: socket.socket, _told: socket.socket) -> None:
    number = 0
    while number not in (signal.SIGINT, signal.SIGTERM):
        number = heard.recv(1)[0]
    heard.settimeout(GRACE_S)
    with suppress(TimeoutError):
        heard.recv(1)  # a second signal: at once
    _end(message(128 + number), 128 + number)
