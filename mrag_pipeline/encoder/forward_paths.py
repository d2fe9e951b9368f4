"""Ways to run texts through a model: packed without padding, padded, or one text at a time.

Shape legend: N texts, B rows, T tokens of a row, H heads, D head dimension, E model width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from mrag_pipeline.domain.packing import packed_batches, padded_batches
from mrag_pipeline.encoder import packed_attention
from mrag_pipeline.encoder.packed_rows import Layout, texts_in_row
from mrag_pipeline.encoder.readout import Readout

PaddingSide = Literal["left", "right"]
Rows = Sequence[Sequence[int]]

# Longer rows are not faster on a CPU: 512 to 8,192 tokens are within 10% on MiniLM.
CPU_ROW_TOKENS = 2_048
# Rows of ever new lengths fragment the heap and make oneDNN plan again: 240 of them took 540 MB,
# those with lengths in whole steps 150 MB. Filling a short row would cost more than it saves.
CPU_ROW_STEP = 32
_FILLED_FROM = 256


class ForwardPath(Protocol):
    """Token ids to vectors, in one forward pass."""

    name: str

    def batches(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Every text in exactly one batch of at most `max_tokens`."""

    def run(self, rows: Rows, want_standard: bool) -> tuple[Tensor, Tensor | None]:
        """(N, H, D) and (N, E) float32 on the model's device; does not wait for the device."""


@dataclass(frozen=True, slots=True)
class _PaddedBatch:
    mask: Tensor  # (B, T), True where a token is
    first: Tensor  # (B,)
    last: Tensor  # (B,)

    def pooled(self, states: Tensor, pooling: str) -> Tensor:
        if pooling == "mean":
            weights = self.mask.unsqueeze(-1).to(torch.float32)
            return (states.float() * weights).sum(1) / weights.sum(1)
        positions = self.first if pooling == "cls" else self.last
        return states[torch.arange(len(states), device=states.device), positions].float()


class PaddedPath:
    """Each text is a row, padded to the longest; works for any architecture."""

    name = "padded"

    def __init__(
        self,
        model: Any,
        readout: Readout,
        pad_id: int,
        first_position: int,
        side: PaddingSide = "right",
    ) -> None:
        self._model = model
        self._readout = readout
        self._pad_id = pad_id
        self._first_position = first_position
        self._accepts = accepted_parameters(model)
        # A model that does not accept positions would count the padding on the left.
        self._side = side if "position_ids" in self._accepts else "right"

    def batches(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Every text in exactly one batch of at most `max_tokens`, padding counted."""
        return padded_batches(lengths, max_tokens)

    def run(self, rows: Rows, want_standard: bool) -> tuple[Tensor, Tensor | None]:
        """(N, H, D) and (N, E) float32."""
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self._pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for row, tokens in enumerate(rows):
            begin = width - len(tokens) if self._side == "left" else 0
            ids[row, begin : begin + len(tokens)] = torch.tensor(tokens)
            mask[row, begin : begin + len(tokens)] = True
        device = self._model.device
        ids, mask = ids.to(device), mask.to(device)
        count = mask.sum(1)
        start = width - count if self._side == "left" else torch.zeros_like(count)
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.long()}
        # Padding on the right shifts no position, so the model computes them itself.
        if self._side == "left":
            positions = torch.arange(width, device=device) - start[:, None] + self._first_position
            inputs["position_ids"] = torch.where(mask, positions, max(self._first_position - 1, 0))
        if "use_cache" in self._accepts:
            inputs["use_cache"] = False
        batch = _PaddedBatch(mask, start, start + count - 1)
        return self._readout.run(inputs, batch, want_standard)


class SinglePath:
    """One text at a time, as the model is meant to be called: exact for any architecture."""

    name = "one at a time"

    def __init__(self, model: Any, readout: Readout) -> None:
        self._model = model
        self._readout = readout

    def batches(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """The padded path's batches, which bound the memory of the results."""
        return padded_batches(lengths, max_tokens)

    def run(self, rows: Rows, want_standard: bool) -> tuple[Tensor, Tensor | None]:
        """(N, H, D) and (N, E) float32."""
        results = []
        for row in rows:
            ids = torch.tensor([row], device=self._model.device)
            ends = torch.tensor([0, len(row) - 1], device=ids.device)
            batch = _PaddedBatch(torch.ones_like(ids, dtype=torch.bool), ends[:1], ends[1:])
            results.append(self._readout.run({"input_ids": ids}, batch, want_standard))
        heads = torch.cat([heads for heads, _ in results])
        standards = [standard for _, standard in results if standard is not None]
        return heads, torch.cat(standards) if want_standard else None


@dataclass(frozen=True, slots=True)
class _PackedBatch:
    layout: Layout

    def pooled(self, states: Tensor, pooling: str) -> Tensor:
        return self.layout.pooled(states.reshape(-1, states.shape[-1]), pooling)


class PackedPath:
    """All texts in one row, without padding; each attends only to itself.

    For architectures whose attention can be replaced and that accept positions.
    """

    name = "packed"

    def __init__(self, model: Any, readout: Readout, first_position: int) -> None:
        self._model = model
        self._readout = readout
        self._first_position = first_position
        self._accepts = accepted_parameters(model)
        self._read_in = readout.read_in()
        packed_attention.cut_queries(readout.last_block)

    def batches(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Every text in exactly one batch of at most `max_tokens`."""
        if self._model.device.type == "cpu":
            max_tokens = min(max_tokens, CPU_ROW_TOKENS)
        return packed_batches(lengths, max_tokens)

    def run(self, rows: Rows, want_standard: bool) -> tuple[Tensor, Tensor | None]:
        """(N, H, D) and (N, E) float32."""
        device = self._model.device
        num_texts = len(rows)
        if device.type == "cpu" and (missing := _missing_tokens(sum(map(len, rows)))):
            # One more text, whose vectors are dropped.
            rows = [*rows, [rows[-1][0]] * missing]
        layout = Layout(
            tuple(map(len, rows)),
            device,
            self._readout.read_at(want_standard),
            self._read_in,
        )
        positions = layout.positions + self._first_position
        inputs: dict[str, Any] = {
            "input_ids": texts_in_row(rows, device),
            "position_ids": positions.unsqueeze(0),
        }
        if "use_cache" in self._accepts:
            inputs["use_cache"] = False
        with packed_attention.packed(layout):
            heads, standard = self._readout.run(inputs, _PackedBatch(layout), want_standard)
        return heads[:num_texts], None if standard is None else standard[:num_texts]


def _missing_tokens(num_tokens: int) -> int:
    """How many tokens the row lacks to the next whole step."""
    return -num_tokens % CPU_ROW_STEP if num_tokens >= _FILLED_FROM else 0


def accepted_parameters(model: Any) -> frozenset[str]:
    """The names of the arguments that the model's forward pass takes."""
    return frozenset(inspect.signature(model.forward).parameters)
