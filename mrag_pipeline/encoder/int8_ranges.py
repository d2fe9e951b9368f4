"""Measures the ranges of a model's linear layers, from which int8 scales are made.

Every number of an input is divided by a power of two of its channel (smoothing: channels with
large numbers would leave the others few of the 256 steps; the weights are multiplied by it), then
by one scale for all. Both are measured once, at load: a text gets the same bytes in whatever batch
it is in. Both are rounded, so a measurement that differs in its last bit nearly always gives the
same ones; at an edge of the rounding it gives the next.

Source: SmoothQuant (arXiv 2211.10438) for the smoothing.

Shape legend: T tokens, K channels of an input, N outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mrag_pipeline.encoder.int8_method import MOVED, SCALE_STEPS
from mrag_pipeline.encoder.model_errors import MODEL_ERRORS, does_not_run

_LEVELS = 255


@dataclass(frozen=True, slots=True)
class Range:
    """The smallest and the largest number of each channel, (K,); includes zero."""

    low: Tensor
    high: Tensor

    def joined(self, low: Tensor, high: Tensor) -> Range:
        """With more numbers seen."""
        return Range(torch.minimum(self.low, low), torch.maximum(self.high, high))

    def largest(self) -> Tensor:
        """(K,), the largest absolute number of each channel."""
        return torch.maximum(self.high, -self.low)


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers from `-zero * step` to `(255 - zero) * step` in 256 steps."""

    step: float
    zero: int

    @classmethod
    def over(cls, low: float, high: float) -> Scale:
        """The finest scale that reaches from `low` (<= 0) to `high` (>= 0)."""
        width = max(high - low, 1e-12)
        octaves = math.ceil(math.log2(width / _LEVELS) * SCALE_STEPS) / SCALE_STEPS
        step = 2.0**octaves
        return cls(step, min(_LEVELS, round(-low / step)))


@dataclass(slots=True)
class Shared:
    """Linear layers that read the same input, and its range."""

    linears: list[nn.Linear]
    range: Range
    activated: nn.Linear | None = None  # the layer whose GELU makes this input; None: another

    def smoothing(self) -> Tensor:
        """(K,) powers of two by which the input is divided."""
        heaviest = torch.stack([linear.weight.detach().abs().amax(0) for linear in self.linears])
        wanted = self.range.largest().clamp_min(1e-6).log2() * MOVED
        wanted -= heaviest.amax(0).clamp_min(1e-6).log2() * (1 - MOVED)
        return wanted.round_().exp2_()


@dataclass(frozen=True, slots=True)
class _Seen:
    """A tensor and what it held: a model may change it in place before the next layer reads it."""

    tensor: Tensor
    copy: Tensor

    def is_still(self, states: Tensor) -> bool:
        return self.tensor is states and torch.equal(self.copy, states)


@dataclass(slots=True)
class _Watch:
    shared: list[Shared] = field(default_factory=list)
    inputs: list[_Seen] = field(default_factory=list)  # of the first text, to be told apart
    outputs: list[tuple[nn.Linear, _Seen]] = field(default_factory=list)  # of activations
    of: dict[int, Shared] = field(default_factory=dict)  # by id() of the linear layer

    def linear(self, module: nn.Linear, args: tuple[Tensor, ...]) -> None:
        states = args[0]
        flat = states.reshape(-1, states.shape[-1])
        low, high = flat.amin(0).clamp_max(0.0), flat.amax(0).clamp_min(0.0)
        if id(module) in self.of:
            shared = self.of[id(module)]
            shared.range = shared.range.joined(low, high)
            return
        for known, same in zip(self.inputs, self.shared, strict=True):
            if known.is_still(states):
                same.linears.append(module)
                self.of[id(module)] = same
                return
        maker = next((linear for linear, made in self.outputs if made.is_still(states)), None)
        shared = Shared([module], Range(low, high), maker)
        self.inputs.append(_Seen(states, states.clone()))
        self.shared.append(shared)
        self.of[id(module)] = shared


def shared_inputs(
    model: Any, blocks: Sequence[Any], rows: Sequence[Sequence[int]]
) -> tuple[Shared, ...]:
    """The inputs of all linear layers with their ranges over the texts, run one at a time.

    Args:
        blocks: of a linear layer `dense` and its activation `intermediate_act_fn`.
        rows: token ids of each text.
    Raises: UnsupportedArchitecture if the model does not run.
    """
    watch = _Watch()
    handles = [
        module.register_forward_pre_hook(watch.linear)
        for module in model.modules()
        if type(module) is nn.Linear
    ]
    for block in blocks:

        def made(_: nn.Module, __: Any, output: Tensor, dense: nn.Linear = block.dense) -> None:
            watch.outputs.append((dense, _Seen(output, output.clone())))

        handles.append(block.intermediate_act_fn.register_forward_hook(made))
    try:
        with torch.inference_mode():
            for row in rows:
                model(input_ids=torch.tensor([row], device=model.device))
                watch.outputs.clear()
    except MODEL_ERRORS as error:
        raise does_not_run(model.config.model_type, error) from error
    finally:
        for handle in handles:
            handle.remove()
    return tuple(watch.shared)
