"""What a layer does after its attention, computed for the pooled tokens alone.

When the standard embedding is read at one token of each text, the last layer's projection and
MLP are needed only there. Each function does for these rows what the family's layer does for all;
loading a model checks that the vectors are the same (path_choice.py), so a family whose code
changes runs in full.

Shape legend: N texts, E model width, H*D all heads' width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# (layer, what entered it (N, E), what its heads attended to (N, H*D)) -> (N, E)
FinishLayer = Callable[[Any, "Tensor", "Tensor"], "Tensor"]


def finish_bert(layer: Any, entered: Tensor, attended: Tensor) -> Tensor:
    """BERT: norms after the attention and after the MLP, inside `output`."""
    states = layer.attention.output(attended, entered)
    return layer.output(layer.intermediate(states), states)  # type: ignore[no-any-return]


def finish_modernbert(layer: Any, entered: Tensor, attended: Tensor) -> Tensor:
    """ModernBERT: a norm before the MLP; the attention is added without one."""
    states = entered + layer.attn.Wo(attended)
    return states + layer.mlp(layer.mlp_norm(states))  # type: ignore[no-any-return]


def finish_post_norm(layer: Any, entered: Tensor, attended: Tensor) -> Tensor:
    """Norms after each residual sum."""
    states = layer.post_attention_layernorm(entered + layer.self_attn.o_proj(attended))
    return layer.post_mlp_layernorm(states + layer.mlp(states))  # type: ignore[no-any-return]


def finish_pre_norm(layer: Any, entered: Tensor, attended: Tensor) -> Tensor:
    """Llama and its relatives: a norm before the MLP."""
    states = entered + layer.self_attn.o_proj(attended)
    return states + layer.mlp(layer.post_attention_layernorm(states))  # type: ignore[no-any-return]


def finish_sandwich(layer: Any, entered: Tensor, attended: Tensor) -> Tensor:
    """Gemma 2 and 3: norms before and after the MLP, and after the attention."""
    states = entered + layer.post_attention_layernorm(layer.self_attn.o_proj(attended))
    inner = layer.mlp(layer.pre_feedforward_layernorm(states))
    return states + layer.post_feedforward_layernorm(inner)  # type: ignore[no-any-return]
