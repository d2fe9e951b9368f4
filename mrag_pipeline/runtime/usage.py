"""What the pools of this process have held so far: cores and GPUs of workers, and second tries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums since the process started."""

    core_s: float = 0.0  # cores times seconds
    gpu_s: float = 0.0
    retries: int = 0  # of items

    def since(self, before: Usage) -> Usage:
        """What was added since then."""
        return Usage(
            self.core_s - before.core_s,
            self.gpu_s - before.gpu_s,
            self.retries - before.retries,
        )


_lock = Lock()
_total = Usage()


def total() -> Usage:
    """The sums now; a worker's hours are added when it ends."""
    return _total


def add(core_s: float = 0.0, gpu_s: float = 0.0, retries: int = 0) -> None:
    """Adds to the sums; from any thread."""
    global _total
    with _lock:
        _total = replace(
            _total,
            core_s=_total.core_s + core_s,
            gpu_s=_total.gpu_s + gpu_s,
            retries=_total.retries + retries,
        )
