"""Runs linear layers in the way that measures fastest on a CPU in float32.

With AVX-512, oneDNN computes them: weights are laid out once, bias and GELU are computed in the
same pass. torch's own products use 256 bits on an AMD CPU in any case, so on a CPU with no more
than AVX2 they are faster, and oneDNN's GELU takes twice as long as torch's: there GELU is only
computed in place. The model's modules stay where they are, with their hooks and weights.

The choice depends on the CPU alone, never on a measurement: the same texts give the same bytes in
every process of a machine (docs/decisions/0037).

Source: oneDNN's inner product with post-operations, by the operators that torch's compiler
uses for frozen weights (torch/_inductor/fx_passes/mkldnn_fusion.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

# The layout is a second copy of the weights; for larger models on a CPU memory is scarce.
MAX_LAYOUT_BYTES = 2 * 2**30
# Two caches, torch's and oneDNN's, keep a plan for each number of rows, up to 0.3 MB for a
# product and 1,024 products: so products are computed for few different numbers of rows.
STEP, LONG, SHORT_STEP = 32, 256, 4
# The number of rows that a layout is made for; any number can be multiplied with it.
_ROWS = 2_048


def onednn_is_faster() -> bool:
    """Whether oneDNN multiplies faster than torch's own kernels on this CPU."""
    return torch.backends.cpu.get_cpu_capability() != "AVX2"


def multiplies_bfloat16() -> bool:
    """Whether this CPU has bfloat16 products; others take 7.6 times float32's time (0040)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class FastLinears:
    """Switches the linear layers of a model to a faster computation, and back."""

    def __init__(self, model: nn.Module, onednn: bool | None = None) -> None:
        """`onednn`: None chooses by the CPU."""
        self._onednn = onednn_is_faster() if onednn is None else onednn
        self._linears = [m for m in model.modules() if type(m) is nn.Linear]
        self._activated = list(activated_blocks(model)) if self._linears else []

    def unable(self) -> str:
        """Why the layers cannot be made faster; empty if they can."""
        if not self._linears:
            return "no linear layers"
        weights = [linear.weight for linear in self._linears]
        if any(w.device.type != "cpu" or w.dtype != torch.float32 for w in weights):
            return "not in float32 on a CPU"
        if not self._onednn:
            return "" if self._activated else "nothing is faster on a CPU with AVX2"
        is_available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        if not (is_available and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
            return "this torch has no oneDNN"
        if sum(weight.numel() * 4 for weight in weights) > MAX_LAYOUT_BYTES:
            return f"more than {MAX_LAYOUT_BYTES / 2**30:.0f} GiB of weights"
        return ""

    def on(self) -> None:
        """Switches to the faster computation."""
        fused = {id(block.dense) for block in self._activated}
        for linear in self._linears:
            if self._onednn:
                activation = "gelu" if id(linear) in fused else "none"
                vars(linear)["forward"] = multiplier(linear, activation)
            elif id(linear) in fused:
                vars(linear)["forward"] = _gelu_in_place(linear)
        for block in self._activated:
            block.intermediate_act_fn = AlreadyApplied(block.intermediate_act_fn)

    def off(self) -> None:
        """Restores the model's own computation."""
        for linear in self._linears:
            vars(linear).pop("forward", None)
        for block in self._activated:
            if isinstance(block.intermediate_act_fn, AlreadyApplied):
                block.intermediate_act_fn = block.intermediate_act_fn.replaced


class AlreadyApplied(nn.Module):
    """Stands for an activation that the layer before has already computed."""

    def __init__(self, replaced: nn.Module) -> None:
        super().__init__()
        self.replaced = replaced

    def forward(self, states: Tensor) -> Tensor:
        """Returns the states unchanged."""
        return states


def _gelu_in_place(linear: nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(states: Tensor) -> Tensor:
        product = nn.functional.linear(states, linear.weight, linear.bias)
        return torch.ops.aten.gelu_(product)  # type: ignore[no-any-return]

    return forward


def multiplier(linear: nn.Linear, activation: str) -> Callable[[Tensor], Tensor]:
    """The layer by oneDNN, with its `activation` (none or gelu) in the same pass."""
    multiply: Any = torch.ops.mkldnn._linear_pointwise
    with torch.no_grad():
        weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)
        bias = None if linear.bias is None else linear.bias.detach()

    def forward(states: Tensor) -> Tensor:
        rows = states.numel() // states.shape[-1]
        missing = missing_rows(rows)
        if not missing:
            product: Tensor = multiply(states, weight, bias, activation, [], "none")
            return product
        flat = nn.functional.pad(states.reshape(rows, -1), (0, 0, 0, missing))
        product = multiply(flat, weight, bias, activation, [], "none")
        return product[:rows].view(*states.shape[:-1], -1)

    return forward


def missing_rows(rows: int) -> int:
    """How many rows are missing to the next number that products are computed for."""
    return -rows % (STEP if rows >= LONG else SHORT_STEP)


def activated_blocks(model: nn.Module) -> Iterator[Any]:
    """Blocks of a linear layer followed by the exact GELU, as in BERT and its relatives."""
    for block in model.modules():
        dense = getattr(block, "dense", None)
        activation = getattr(block, "intermediate_act_fn", None)
        if type(dense) is nn.Linear and _is_exact_gelu(activation):
            yield block


def _is_exact_gelu(activation: Any) -> bool:
    probe = torch.linspace(-4, 4, 33)
    if not isinstance(activation, nn.Module) or any(True for _ in activation.parameters()):
        return False
    with torch.inference_mode():
        return bool(torch.equal(activation(probe), nn.functional.gelu(probe)))
