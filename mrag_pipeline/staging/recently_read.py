"""What was read lately, so that it is not read again: never more than a fixed number."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The values set or got last, by number; safe to share by threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[int, Value] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, number: int) -> Value | None:
        """The value; None if there was none, or it is too long ago."""
        with self._lock:
            if number in self._values:
                self._values.move_to_end(number)
            return self._values.get(number)

    def set(self, number: int, value: Value) -> None:
        """Keeps the value; what was used least lately may go."""
        with self._lock:
            self._values[number] = value
            self._values.move_to_end(number)
            if len(self._values) > self._most:
                self._values.popitem(last=False)

    def clear(self) -> None:
        """Forgets all."""
        with self._lock:
            self._values.clear()
