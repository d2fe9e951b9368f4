"""Vectors on their way from the device into numpy arrays, while the next pass runs.

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

_IN_FLIGHT = 3  # batches on their way before the oldest is waited for


class DeviceCopies:
    """Fills `heads` (N, H, D) and `standard` (N, E); whole once the `with` block ends."""

    def __init__(self, heads: NDArray[np.float32], standard: NDArray[np.float32]) -> None:
        self._heads = heads
        self._standard = standard
        self._coming: deque[tuple[Sequence[int], Tensor, Tensor | None, torch.cuda.Event]] = deque()

    def __enter__(self) -> DeviceCopies:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._coming:
            self._arrive()

    def take(self, rows: Sequence[int], heads: Tensor, standard: Tensor | None) -> None:
        """A batch: (n, H, D) and (n, E), to be put at these rows."""
        if not heads.is_cuda:
            self._put(rows, heads.cpu(), None if standard is None else standard.cpu())
            return
        copied = _pinned_copy(heads), None if standard is None else _pinned_copy(standard)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._coming.append((rows, *copied, event))
        if len(self._coming) > _IN_FLIGHT:
            self._arrive()

    def _arrive(self) -> None:
        rows, heads, standard, event = self._coming.popleft()
        event.synchronize()
        self._put(rows, heads, standard)

    def _put(self, rows: Sequence[int], heads: Tensor, standard: Tensor | None) -> None:
        places = np.asarray(rows)
        self._heads[places] = heads.numpy()
        if standard is not None:
            self._standard[places] = standard.numpy()


def _pinned_copy(states: Tensor) -> Tensor:
    """A copy in page-locked memory that the device writes while others work."""
    host = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
    return host.copy_(states, non_blocking=True)
