"""Runs the linear layers of a model in int8, by oneDNN's integer products.

Inputs are 8 bits without a sign, by ranges that are measured at load (int8_ranges.py); weights are
8 bits with one scale for each output. Between the two layers of a BERT-like MLP the numbers never
leave 8 bits: oneDNN computes GELU and the next layer's input in the pass of the product. The few
channels there whose numbers are much larger than the others' stay in float32, so that the others
have all 256 steps. Attention, norms and sums stay in float32.

Source: oneDNN's quantized inner product, by the operators of torch's own int8 backend
(torch/_inductor/fx_passes/quantization.py); outliers apart: LLM.int8() (arXiv 2208.07339).

Shape legend: T tokens, K channels of an input, N outputs, O outlier channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mrag_pipeline.encoder.int8_method import CHANNELS_FOR_AN_OUTLIER, MIN_OUTLIERS
from mrag_pipeline.encoder.int8_ranges import Scale, Shared, shared_inputs
from mrag_pipeline.encoder.linear_layers import (
    AlreadyApplied,
    activated_blocks,
    missing_rows,
    multiplier,
)
from mrag_pipeline.errors import ConfigError

# Rows that are rounded at a time: what lies between stays in the core's cache.
_BLOCK = 256


def multiplies_int8() -> bool:
    """Whether this CPU adds up products of 8 bits (AVX-512 VNNI or AMX)."""
    return bool(torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported())


def has_int8_operators() -> bool:
    """Whether this torch has oneDNN's integer products."""
    operators = torch.ops.onednn
    return all(hasattr(operators, name) for name in ("qlinear_pointwise", "qlinear_prepack"))


def check_int8(device: torch.device) -> None:
    """Checks that this machine can encode in int8.

    Raises: ConfigError if it cannot: no other number type is taken in its place.
    """
    if device.type != "cpu":
        found = f"device {device}"
    elif not multiplies_int8():
        found = "a CPU without AVX-512 VNNI and AMX"
    elif not has_int8_operators():
        found = f"torch {torch.__version__} without oneDNN's integer products"
    else:
        return
    raise ConfigError(
        f"encoder.dtype = 'int8' on {found}",
        "a CPU with AVX-512 VNNI or AMX, and a torch with oneDNN",
        "use encoder.dtype = 'float32' (another dtype is another version of the index), set "
        "workers.device = 'cpu', or run on such a CPU",
    )


class QuantizedLinears:
    """Switches the linear layers of a model to int8."""

    def __init__(self, model: Any, rows: Sequence[Sequence[int]]) -> None:
        """Measures the ranges.

        Args:
            rows: token ids of texts.
        Raises: ConfigError if the model has no linear layers, UnsupportedArchitecture if it does
            not run.
        """
        self._blocks = list(activated_blocks(model))
        self._shared = shared_inputs(model, self._blocks, rows)
        self._quantizers: list[_Quantizer] = []
        if not self._shared:
            raise ConfigError(
                f"encoder.dtype = 'int8' and {model.config.model_type} without linear layers",
                "a model whose products are torch's linear layers, such as BERT's",
                "use encoder.dtype = 'float32' or another model",
            )

    @property
    def num_linears(self) -> int:
        """How many layers run in int8."""
        return sum(len(shared.linears) for shared in self._shared)

    @torch.no_grad()
    def on(self) -> None:
        """Switches to int8."""
        inner = {id(s.activated): s for s in self._shared if s.activated and len(s.linears) == 1}
        for shared in self._shared:
            if id(shared.activated) in inner:
                continue
            quantizer = _Quantizer(shared)
            self._quantizers.append(quantizer)
            for linear in shared.linears:
                if id(linear) in inner:
                    _join(linear, quantizer, inner[id(linear)])
                else:
                    product = _Product(
                        linear.weight * quantizer.smoothing, linear.bias, quantizer.scale
                    )
                    vars(linear)["forward"] = _alone(quantizer, product)
        for block in self._blocks:
            if id(block.dense) in inner:
                block.intermediate_act_fn = AlreadyApplied(block.intermediate_act_fn)

    def forget(self) -> None:
        """Drops what is kept for the next layer that reads the same input; at the end of a pass.

        A pass that ends early, or is cut to some tokens, leaves inputs that not all have read.
        """
        for quantizer in self._quantizers:
            quantizer.forget()


class _Quantizer:
    """Turns an input into 8 bits; for layers that read the same one, once.

    The same one is the same tensor: layers between whose reads it is changed in place do not share
    a quantizer (int8_ranges.py tells them apart).
    """

    def __init__(self, shared: Shared) -> None:
        self.smoothing = smoothing = shared.smoothing()
        low, high = shared.range.low / smoothing, shared.range.high / smoothing
        self.scale = Scale.over(float(low.min()), float(high.max()))
        self._factors = 1 / (smoothing * self.scale.step)
        self._shift = torch.tensor(self.scale.zero + 0.5)  # cut off, it is rounded
        self._readers = len(shared.linears)
        self._last: tuple[Tensor, Tensor] | None = None
        self._reads = 0

    def __call__(self, states: Tensor) -> Tensor:
        """(..., K) float32 to (T, K) uint8, filled to a whole step of rows."""
        if self._last is not None and self._last[0] is states:
            quantized = self._last[1]
            self._reads += 1
        else:
            quantized = self._quantized(states)
            self._reads = 1
        self._last = (states, quantized) if self._reads < self._readers else None
        return quantized

    def forget(self) -> None:
        """Drops the input that was read last."""
        self._last = None

    def _quantized(self, states: Tensor) -> Tensor:
        rows = states.reshape(-1, states.shape[-1])
        missing = missing_rows(len(rows))
        # The bits of uint8. By way of int16 torch gets there five times as fast as directly.
        quantized = torch.empty(len(rows) + missing, rows.shape[1], dtype=torch.int8)
        quantized[len(rows) :] = 0
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            scaled = torch.addcmul(self._shift, block, self._factors).clamp_(0, 255)
            quantized[start : start + len(block)].copy_(scaled.to(torch.int16))
        return quantized.view(torch.uint8)


class _Product:
    """A linear layer whose input has 8 bits."""

    def __init__(self, weight: Tensor, bias: Tensor | None, scale: Scale) -> None:
        self._scales = (weight.abs().amax(1) / 127).clamp_min_(1e-12)
        rounded = (weight / self._scales[:, None]).round_().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = None if bias is None else bias.detach()
        self._input = scale

    def __call__(self, quantized: Tensor, gelu: Scale | None = None) -> Tensor:
        """(T, K) uint8 to (T, N) float32, or with GELU to uint8 of that scale."""
        output: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
        if gelu is not None:
            output = (gelu.step, gelu.zero, torch.uint8, "gelu", [], "none")
        multiply: Any = torch.ops.onednn.qlinear_pointwise
        product: Tensor = multiply(*self._operands(quantized), self._bias, *output)
        return product

    def add_to(self, sums: Tensor, quantized: Tensor) -> Tensor:
        """`sums` (T, N) float32, changed: with the product of (T, K) uint8, in the same pass."""
        output: tuple[Any, ...] = (1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], "")
        multiply: Any = torch.ops.onednn.qlinear_pointwise.binary
        added: Tensor = multiply(*self._operands(quantized), sums, self._bias, *output)
        return added

    def _operands(self, quantized: Tensor) -> tuple[Any, ...]:
        given = (quantized, self._input.step, self._input.zero)
        return (*given, self._weight, self._scales, self._zeros)


def _alone(quantizer: _Quantizer, product: _Product) -> Callable[[Tensor], Tensor]:
    """A layer from float32 to float32."""

    def forward(states: Tensor) -> Tensor:
        rows = states.numel() // states.shape[-1]
        return product(quantizer(states))[:rows].view(*states.shape[:-1], -1)

    return forward


def _join(up: nn.Linear, quantizer: _Quantizer, inner: Shared) -> None:
    """Sets two layers with GELU between them to pass 8 bits to each other."""
    (down,) = inner.linears
    largest = inner.range.largest()
    count = min(max(MIN_OUTLIERS, len(largest) // CHANNELS_FOR_AN_OUTLIER), len(largest) - 1)
    apart = largest.topk(count).indices.sort().values
    rest = torch.ones_like(largest, dtype=torch.bool).index_fill_(0, apart, False)
    scale = Scale.over(float(inner.range.low[rest].min()), float(inner.range.high[rest].max()))
    first = _Product(up.weight * quantizer.smoothing, up.bias, quantizer.scale)
    second = _Product(down.weight * rest, down.bias, scale)
    first_apart = multiplier(_linear(up.weight[apart], up.bias, apart), "gelu")
    second_apart = multiplier(_linear(down.weight[:, apart], None, apart), "none")
    outliers: list[Tensor] = []  # (..., O), of the pass between the two layers

    def rise(states: Tensor) -> Tensor:
        outliers[:] = [first_apart(states)]
        return first(quantizer(states), scale)

    def fall(quantized: Tensor) -> Tensor:
        apart = outliers.pop()
        *texts, width = apart.shape
        filled = nn.functional.pad(
            apart.reshape(-1, width), (0, 0, 0, missing_rows(apart.numel() // width))
        )
        sums = second.add_to(second_apart(filled), quantized)
        return sums[: apart.numel() // width].view(*texts, -1)

    vars(up)["forward"], vars(down)["forward"] = rise, fall


def _linear(weight: Tensor, bias: Tensor | None, outputs: Tensor) -> nn.Linear:
    """A layer of this weight, and of these outputs' bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias[outputs].contiguous(), requires_grad=False)
    return layer
