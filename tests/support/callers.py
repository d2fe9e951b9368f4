"""Threads that ask a service without a pause."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(kw_only=True)
class Callers(ABC):
    """They ask while the block lasts and count what they are told; their errors are raised."""

    num_callers: int = 2
    statuses: Counter[int] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        """They have begun."""
        self._threads = ThreadPoolExecutor(self.num_callers)
        self._asking: list[Future[None]] = [
            self._threads.submit(self._ask, number) for number in range(self.num_callers)
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """They have ended."""
        self._stop.set()
        self._threads.shutdown()
        if error is None:
            for asking in self._asking:
                asking.result()

    @abstractmethod
    def _ask(self, number: int) -> None:
        """Asks until `_stop` is set."""
