"""Copies vectors from the device into numpy arrays while the next pass runs.

Shape legend: N texts, H heads, D head dimension, E standard width, n texts of a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_Copy = tuple[Sequence[int], Tensor, Tensor | None, torch.cuda.Event]
_MAX_IN_FLIGHT = 3  # batches being copied before the oldest is waited for


class DeviceCopies:
    """Fills `heads` (N, H, D) and `standard` (N, E); complete when the `with` block ends."""

    def __init__(self, heads: NDArray[np.float32], standard: NDArray[np.float32]) -> None:
        self._heads = heads
        self._standard = standard
        self._in_flight: deque[tuple[Sequence[int], Tensor, Tensor | None, torch.cuda.Event]] = (
            deque()
        )

    def __enter__(self) -> DeviceCopies:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._in_flight:
            self._finish_oldest()

    def take(self, rows: Sequence[int], heads: Tensor, standard: Tensor | None) -> None:
        """Copies a batch, (n, H, D) and (n, E), to these rows."""
        if not heads.is_cuda:
            self._put(rows, heads.cpu(), None if standard is None else standard.cpu())
            return
        copied = _pinned_copy(heads), None if standard is None else _pinned_copy(standard)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._in_flight.append((rows, *copied, event))
        if len(self._in_flight) > _MAX_IN_FLIGHT:
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        rows, heads, standard, event = self._in_flight.popleft()
        event.synchronize()
        self._put(rows, heads, standard)

    def _put(self, rows: Sequence[int], heads: Tensor, standard: Tensor | None) -> None:
        indices = np.asarray(rows)
        self._heads[indices] = heads.numpy()
        if standard is not None:
            self._standard[indices] = standard.numpy()


def _pinned_copy(states: Tensor) -> Tensor:
    """A copy in page-locked memory, which the device writes without blocking the host."""
    host = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
    return host.copy_(states, non_blocking=True)
