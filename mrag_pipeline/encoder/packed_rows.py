"""The layout of a row of many texts, and the tokens that are read from it.

Shape legend: T tokens of all texts, N texts, t tokens of a text, n texts of a run of equal
lengths, X any width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby
from typing import Literal

import torch
from torch import Tensor

ReadAt = Literal["", "cls", "last"]


@dataclass(frozen=True)
class Layout:
    """Where each text is in the row; texts of equal length should be neighbours."""

    lengths: tuple[int, ...]
    device: torch.device
    # The one token of each text at which the attention of some modules is read, and these modules.
    read_at: ReadAt = ""
    read_in: frozenset[int] = frozenset()  # by id()

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """(N + 1), where each text starts in the row; the last is T."""
        return (0, *accumulate(self.lengths))

    @cached_property
    def runs(self) -> tuple[tuple[int, int, int], ...]:
        """(start, n, t) of each run of neighbours of equal length."""
        runs, start = [], 0
        for length, same in groupby(self.lengths):
            count = len(list(same))
            runs.append((start, count, length))
            start += count * length
        return tuple(runs)

    @cached_property
    def positions(self) -> Tensor:
        """(T,), each token's position in its text, from 0."""
        pieces = [torch.arange(t).repeat(n) for _, n, t in self.runs]
        return torch.cat(pieces).to(self.device, non_blocking=True)

    @cached_property
    def boundaries(self) -> Tensor:
        """`starts` as int32 on the device, for variable-length kernels."""
        return torch.tensor(self.starts, dtype=torch.int32).to(self.device, non_blocking=True)

    @cached_property
    def first(self) -> Tensor:
        """(N,), each text's first token in the row."""
        return self.boundaries[:-1].long()

    @cached_property
    def last(self) -> Tensor:
        """(N,), each text's last token in the row."""
        return self.boundaries[1:].long() - 1

    @cached_property
    def read_rows(self) -> Tensor:
        """(N,), the index in the row of each text's token that `read_at` names."""
        return self.first if self.read_at == "cls" else self.last

    @cached_property
    def padding(self) -> tuple[Tensor, Tensor]:
        """(N, t max) each padded position's index in the row, and whether it is a token.

        A position without a token gets the index of its text's first token.
        """
        positions = torch.arange(max(self.lengths), device=self.device)
        counts = (self.last - self.first + 1)[:, None]
        is_token = positions < counts
        return self.first[:, None] + torch.where(is_token, positions, 0), is_token

    def pooled(self, states: Tensor, pooling: str) -> Tensor:
        """(T, X) to (N, X) float32."""
        if pooling != "mean":
            return states[self.first if pooling == "cls" else self.last].float()
        if states.is_cuda:
            lengths = torch.tensor(self.lengths, device=states.device)
            return torch.segment_reduce(states.float(), "mean", lengths=lengths, axis=0)
        pieces = (states[s : s + n * t].view(n, t, -1) for s, n, t in self.runs)
        return torch.cat([piece.float().mean(1) for piece in pieces])


def texts_in_row(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """(1, T), the ids of all texts one after another."""
    flat = torch.tensor([token for row in rows for token in row], dtype=torch.long)
    if device.type == "cuda":
        flat = flat.pin_memory()
    return flat.to(device, non_blocking=True).unsqueeze(0)
