"""Reads head vectors and the standard embedding from a forward pass.

The pass ends as soon as everything requested is known.

Shape legend: N texts, B rows, T tokens of a row, H heads, D head dimension, E model width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mrag_pipeline.encoder.families import Family, ResolvedPooling
from mrag_pipeline.encoder.head_capture import Capture
from mrag_pipeline.encoder.packed_rows import ReadAt


class Batch(Protocol):
    """Knows which states of a forward pass belong to which text."""

    def pooled(self, states: Tensor, pooling: str) -> Tensor:
        """(B, T, X) to (N, X) float32, in the order of the texts."""


class _PassComplete(BaseException):
    """Everything requested is known. Not an `Exception`, so that no model code catches it."""


@dataclass(slots=True)
class _Pass:
    batch: Batch
    want_standard: bool
    stop: bool  # whether to end after the last captured projection's input
    heads: list[Tensor] = field(default_factory=list)
    entered: Tensor | None = None  # (N, E), the last captured layer's input, pooled
    attended: Tensor | None = None  # (N, H*D), its projection's input, pooled


class Readout:
    """Hooks on a model. Not for concurrent forward passes."""

    def __init__(
        self,
        model: Any,
        capture: Capture,
        family: Family,
        pooling: ResolvedPooling,
        standard_pooling: ResolvedPooling,
        head: nn.Module | None = None,
    ) -> None:
        self._model = model
        self._capture = capture
        self._pooling = pooling
        self._standard_pooling = standard_pooling
        self._head = head  # what the model's folder applies after pooling
        can_shorten = capture.is_last and standard_pooling != "mean"
        self._finish_layer = family.finish_layer if can_shorten else None
        # Whether the end of the last layer runs for the pooled tokens alone.
        self.shortened = self._finish_layer is not None
        self._final_norm = family.final_norm
        self._pass: _Pass | None = None
        for index, projection in enumerate(capture.projections):
            projection.register_forward_pre_hook(self._projection_hook(index))
        capture.blocks[-1].register_forward_pre_hook(self._layer_hook, with_kwargs=True)

    def read_at(self, want_standard: bool) -> ReadAt:
        """The token of each text at which the last captured attention is read; empty if all are."""
        if self._pooling == "mean" or not self._stops(want_standard):
            return ""
        if want_standard and self._standard_pooling != self._pooling:
            return ""
        return self._pooling

    @property
    def last_block(self) -> nn.Module:
        """The last captured layer."""
        return self._capture.blocks[-1]

    def read_in(self) -> frozenset[int]:
        """The modules of the last captured layer, by id()."""
        return frozenset(map(id, self.last_block.modules()))

    def run(
        self, inputs: Mapping[str, Any], batch: Batch, want_standard: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(N, H, D) and (N, E) float32 on the model's device; None for (N, E) if not requested."""
        running = _Pass(batch, want_standard, self._stops(want_standard))
        self._pass = running
        states: Tensor | None = None
        try:
            states = self._model(**inputs).last_hidden_state
        except _PassComplete:
            pass
        finally:
            self._pass = None
        heads = torch.cat(running.heads, dim=1)
        if not want_standard:
            return heads, None
        if states is not None:
            standard = batch.pooled(states, self._standard_pooling)
        else:
            standard = self._finish(running)
        return heads, standard if self._head is None else self._head(standard)

    def _stops(self, want_standard: bool) -> bool:
        return not want_standard or self.shortened

    def _finish(self, running: _Pass) -> Tensor:
        assert self._finish_layer is not None
        assert running.entered is not None
        assert running.attended is not None
        dtype = self._model.dtype
        entered, attended = running.entered.to(dtype), running.attended.to(dtype)
        states = self._finish_layer(self._capture.blocks[-1], entered, attended)
        if self._final_norm:
            states = self._model.get_submodule(self._final_norm)(states)
        return states.float()

    def _projection_hook(self, index: int) -> Any:
        is_last = index == len(self._capture.projections) - 1

        def read(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            running = self._pass
            if running is None:
                return
            pooled = running.batch.pooled(args[0], self._pooling)
            running.heads.append(pooled.view(len(pooled), -1, self._capture.head_dim))
            if is_last and running.stop:
                if running.want_standard:
                    running.attended = running.batch.pooled(args[0], self._standard_pooling)
                raise _PassComplete

        return read

    def _layer_hook(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        running = self._pass
        if running is not None and running.stop and running.want_standard:
            states = args[0] if args else kwargs["hidden_states"]
            running.entered = running.batch.pooled(states, self._standard_pooling)
