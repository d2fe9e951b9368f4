"""What a layer does after its attention, for the pooled tokens alone.

When the standard embedding is read at one token of each text, the last layer's projection and
MLP are only needed there. Each function does for a few rows what the family's layer does for
all; loading a model checks that it does (paths.py), so a family that changes runs in full.

Shape legend: N texts, E model width, H*D all heads' width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mrag_pipeline.encoder.head_capture import Rest

# (layer, what entered it (N, E), what its heads attended to (N, H*D)) -> (N, E)
LayerRest = Callable[[Any, Tensor, Tensor], Tensor]


def _bert(layer: Any, entered: Tensor, attended: Tensor) -> Tensor:
    states = layer.attention.output(attended, entered)
    return layer.output(layer.intermediate(states), states)  # type: ignore[no-any-return]


def _modernbert(layer: Any, entered: Tensor, attended: Tensor) -> Tensor:
    states = entered + layer.attn.Wo(attended)
    return states + layer.mlp(layer.mlp_norm(states))  # type: ignore[no-any-return]


def _post_norm(layer: Any, entered: Tensor, attended: Tensor) -> Tensor:
    states = layer.post_attention_layernorm(entered + layer.self_attn.o_proj(attended))
    return layer.post_mlp_layernorm(states + layer.mlp(states))  # type: ignore[no-any-return]


def _pre_norm(layer: Any, entered: Tensor, attended: Tensor) -> Tensor:
    states = entered + layer.self_attn.o_proj(attended)
    return states + layer.mlp(layer.post_attention_layernorm(states))  # type: ignore[no-any-return]


def _sandwich(layer: Any, entered: Tensor, attended: Tensor) -> Tensor:
    states = entered + layer.post_attention_layernorm(layer.self_attn.o_proj(attended))
    inner = layer.mlp(layer.pre_feedforward_layernorm(states))
    return states + layer.post_feedforward_layernorm(inner)  # type: ignore[no-any-return]


RESTS: dict[Rest, LayerRest] = {
    "bert": _bert,
    "modernbert": _modernbert,
    "post_norm": _post_norm,
    "pre_norm": _pre_norm,
    "sandwich": _sandwich,
}
