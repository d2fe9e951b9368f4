"""Calls something again and again on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

_JOIN_S = 2.0


class RepeatedCall:
    """A call that is made every so many seconds, until it is closed; an error does not end it."""

    def __init__(self, call: Callable[[], None], every_s: float, name: str) -> None:
        """Starts; the first call comes after `every_s`."""
        self._call = call
        self._every_s = every_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Makes no further call; waits a short time for one that is being made."""
        self._closed.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            try:
                self._call()
            except Exception:
                log.exception("repeated_call_failed name=%s", self._thread.name)
