"""Finds the attention output projections whose input holds one vector for each head.

That input is [B, T, H*D], head-major: what every head attended to, before the projection mixes
them. In a family without a row in families.py the projection is found by structure, or the model
is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.encoder.families import (
    FAMILIES,
    UNKNOWN_BIDIRECTIONAL,
    UNKNOWN_CAUSAL,
    Family,
)
from mrag_pipeline.errors import ConfigError, UnsupportedArchitecture

PROJECTION_NAMES = ("o_proj", "out_proj", "out_lin", "Wo", "wo", "c_proj", "dense", "o")
# A norm over all heads between attention and projection mixes them (BitNet, MiniMax).
MIXING_NORMS = re.compile(r"(attn_sub_norm|inner_attn_ln|sub_norm|g_norm|norm)")
LINEAR_LAYERS = ("linear_attention", "mamba", "mamba2", "recurrent", "conv")


@dataclass(frozen=True, slots=True)
class Capture:
    """The layers whose heads are read, and the modules at which they are read."""

    layers: tuple[int, ...]  # from 0
    names: tuple[str, ...]  # of the projections, within the model
    projections: tuple[nn.Module, ...]
    blocks: tuple[nn.Module, ...]  # the layers themselves
    is_last: bool  # whether the highest of them is the model's last layer
    num_heads: int  # in each layer
    head_dim: int

    def heads(self) -> tuple[Head, ...]:
        """All heads, in the order of the vectors."""
        return tuple(Head(layer, head) for layer in self.layers for head in range(self.num_heads))


def find_capture(model: nn.Module, config: Any, layers: tuple[int, ...]) -> Capture:
    """The projections of the requested layers.

    Raises: UnsupportedArchitecture, which says what was searched for, if a layer has no softmax
    heads; ConfigError if a layer does not exist.
    """
    family = FAMILIES.get(config.model_type)
    stack_name, stack = _layer_stack(model, config)
    layer_indices = _resolved_layers(layers, len(stack), config.model_type)
    names, projections = [], []
    for layer in layer_indices:
        _refuse_linear(config, layer)
        name = family.projection if family else ""
        if not name or not _has(stack[layer], name):
            name = _projection_name(stack[layer], config)
        projection = stack[layer].get_submodule(name)
        _refuse_mixing(stack[layer], name, config)
        names.append(f"{stack_name}.{layer}.{name}")
        projections.append(projection)
    num_heads = int(config.num_attention_heads)
    widths = {input_width(projection) for projection in projections}
    head_dim, remainder = divmod(widths.pop(), num_heads)
    stated = head_dims(config) or {head_dim}
    if widths or remainder or head_dim not in stated:
        raise _unsupported(
            config,
            f"{names[-1]} takes {input_width(projections[-1])} numbers for {num_heads} heads "
            f"of {' or '.join(map(str, sorted(stated)))}",
        )
    blocks = tuple(stack[layer] for layer in layer_indices)
    is_last = layer_indices[-1] == len(stack) - 1
    return Capture(
        layer_indices,
        tuple(names),
        tuple(projections),
        blocks,
        is_last,
        num_heads,
        head_dim,
    )


def head_dims(config: Any) -> set[int]:
    """The numbers of dimensions that the config allows a head; empty if it states none."""
    dims = set()
    # If they differ between layers, attributes of newer configs raise; to_dict() does not.
    for name in ("head_dim", "d_kv", "v_head_dim"):
        value = config.to_dict().get(name)
        if isinstance(value, int) and value > 0:
            dims.add(value)
    return dims


def is_causal(model: Any, projection: nn.Module) -> bool:
    """Whether a text's first token sees no other token, found by running the model."""
    seen: list[torch.Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, 0]))
    last_id = int(model.get_input_embeddings().weight.shape[0]) - 1
    try:
        with torch.inference_mode():
            for ids in ([last_id, last_id - 1, last_id - 2], [last_id, last_id - 3, last_id - 4]):
                model(input_ids=torch.tensor([ids], device=model.device))
    finally:
        handle.remove()
    return bool(torch.allclose(seen[0], seen[1], rtol=1e-3, atol=1e-4))


def input_width(projection: nn.Module) -> int:
    """The width of a projection's input; GPT-2's Conv1D stores its weight transposed."""
    if isinstance(projection, nn.Linear):
        return projection.in_features
    weight = getattr(projection, "weight", None)
    return int(weight.shape[0]) if weight is not None and weight.ndim == 2 else 0


def family_of(model: Any, capture: Capture) -> Family:
    """The family's row, corrected or replaced by what the model itself shows."""
    family = FAMILIES.get(model.config.model_type)
    causal = is_causal(model, capture.projections[-1])
    if family is None:
        family = UNKNOWN_CAUSAL if causal else UNKNOWN_BIDIRECTIONAL
        return replace(family, positions_after_pad=_positions_after_pad(model))
    if family.pooling == "last" and not causal:
        # A decoder made bidirectional, like EmbeddingGemma: all tokens see equally much.
        return replace(family, pooling="mean", standard="mean")
    return family


def _positions_after_pad(model: nn.Module) -> bool:
    return any(
        isinstance(module, nn.Embedding)
        and name.endswith("position_embeddings")
        and module.padding_idx is not None
        for name, module in model.named_modules()
    )


def _has(layer: nn.Module, name: str) -> bool:
    return any(name == existing for existing, _ in layer.named_modules())


def _layer_stack(model: nn.Module, config: Any) -> tuple[str, nn.ModuleList]:
    num_layers = int(getattr(config, "num_hidden_layers", 0))
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers > 0:
            return name, module
    raise _unsupported(config, f"no list of {num_layers} layers in {type(model).__name__}")


def _resolved_layers(requested: tuple[int, ...], num_layers: int, family: str) -> tuple[int, ...]:
    resolved = tuple(layer + num_layers if layer < 0 else layer for layer in requested)
    exist = all(0 <= layer < num_layers for layer in resolved)
    if not exist or not requested or len(set(resolved)) < len(resolved):
        raise ConfigError(
            f"encoder.layers = {list(requested)} for a {family} of {num_layers} layers",
            f"distinct layers from 0 to {num_layers - 1}, or from -1 down to {-num_layers}",
            "only the last layer's heads retrieve well: use [-1] unless you measured otherwise",
        )
    return tuple(sorted(resolved))


def _projection_name(layer: nn.Module, config: Any) -> str:
    """The last module in an attention block whose input has the width of all heads together."""
    num_heads = int(config.num_attention_heads)
    dims = head_dims(config) or {config.hidden_size // num_heads}
    widths = {num_heads * dim for dim in dims}
    last_match = ""
    for name, module in layer.named_modules():
        path = name.split(".")
        in_attention = any(re.search(r"attn|attention|mixer", part, re.I) for part in path[:-1])
        if not in_attention or any("cross" in part.lower() for part in path):
            continue
        if path[-1] in PROJECTION_NAMES and input_width(module) in widths:
            last_match = name
    if not last_match:
        raise _unsupported(
            config,
            f"no module named {', '.join(PROJECTION_NAMES)} in an attention block of "
            f"{type(layer).__name__} takes {num_heads} heads x "
            f"{' or '.join(map(str, sorted(dims)))}",
        )
    return last_match


def _refuse_linear(config: Any, layer: int) -> None:
    types = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    if types and types[layer] in LINEAR_LAYERS:
        softmax = [index for index, kind in enumerate(types) if kind not in LINEAR_LAYERS]
        raise _unsupported(
            config,
            f"layer {layer} is {types[layer]}, without softmax heads (layers with them: {softmax})",
        )


def _refuse_mixing(layer: nn.Module, projection: str, config: Any) -> None:
    parent = layer.get_submodule(projection.rpartition(".")[0])
    for name, _ in parent.named_children():
        if MIXING_NORMS.fullmatch(name):
            raise _unsupported(
                config, f"{name} normalises over all heads before {projection}, so heads are mixed"
            )


def _unsupported(config: Any, found: str) -> UnsupportedArchitecture:
    return UnsupportedArchitecture(
        f"{config.model_type}: {found}",
        "a transformer whose last attention layer has softmax heads and an output projection",
        f"use a model of one of these families: {', '.join(sorted(FAMILIES))}; "
        "or set encoder.layers",
    )
