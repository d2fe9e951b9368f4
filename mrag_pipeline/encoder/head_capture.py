"""Where each family keeps its last attention's output projection, and how it is pooled.

The projection's input is [B, T, H*D], head-major: what every head attended to, before the
projection mixes them. A family that is not listed is found by structure, or refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.errors import ConfigError, UnsupportedArchitecture

ResolvedPooling = Literal["cls", "last", "mean"]
Rest = Literal["", "bert", "modernbert", "post_norm", "pre_norm", "sandwich"]  # rests.py


@dataclass(frozen=True, slots=True)
class Family:
    """How a family of models is read."""

    projection: str  # of the attention output, within a layer
    pooling: ResolvedPooling  # of the heads
    standard: ResolvedPooling  # of the standard embedding
    rest: Rest = ""  # what a layer does after its attention
    final_norm: str = ""  # of the model, after its last layer
    positions_after_pad: bool = False  # RoBERTa's positions begin at pad id + 1


_BERT = Family("attention.output.dense", "cls", "cls", "bert")
_ROBERTA = Family("attention.output.dense", "cls", "mean", "bert", positions_after_pad=True)
_CAUSAL = Family("self_attn.o_proj", "last", "last", "pre_norm", "norm")
_SANDWICH = Family("self_attn.o_proj", "last", "last", "sandwich", "norm")
_POST_NORM = Family("self_attn.o_proj", "cls", "cls", "post_norm")

_T5 = Family("layer.0.SelfAttention.o", "mean", "mean")

# What is known of a family that is not listed; its projection is found by structure.
UNKNOWN_CAUSAL = Family("", "last", "last")
UNKNOWN_BIDIRECTIONAL = Family("", "cls", "mean")

FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "camembert": _ROBERTA,
    "data2vec-text": _ROBERTA,
    "distilbert": Family("attention.out_lin", "cls", "mean"),
    "dpr": _BERT,
    "electra": _BERT,
    "ernie": _BERT,
    "gemma": _CAUSAL,
    "gemma2": _SANDWICH,
    "gemma3_text": _SANDWICH,
    "gpt2": Family("attn.c_proj", "last", "last"),
    "gte": _POST_NORM,
    "llama": _CAUSAL,
    "mistral": _CAUSAL,
    "modernbert": Family("attn.Wo", "cls", "cls", "modernbert", "final_norm"),
    "mpnet": Family("attention.attn.o", "cls", "mean", positions_after_pad=True),
    "mt5": _T5,
    "nomic_bert": replace(_POST_NORM, standard="mean"),
    "opt": Family("self_attn.out_proj", "last", "last"),
    "phi3": _CAUSAL,
    "qwen2": _CAUSAL,
    "qwen3": _CAUSAL,
    "roberta": _ROBERTA,
    "t5": _T5,
    "umt5": _T5,
    "xlm-roberta": _ROBERTA,
}

PROJECTION_NAMES = ("o_proj", "out_proj", "out_lin", "Wo", "wo", "c_proj", "dense", "o")
# A norm over all heads between attention and projection mixes them (BitNet, MiniMax).
MIXING_NORMS = re.compile(r"(attn_sub_norm|inner_attn_ln|sub_norm|g_norm|norm)")
LINEAR_LAYERS = ("linear_attention", "mamba", "mamba2", "recurrent", "conv")


@dataclass(frozen=True, slots=True)
class Capture:
    """The layers whose heads are read, and where."""

    layers: tuple[int, ...]  # from 0
    names: tuple[str, ...]  # of the projections, within the model
    projections: tuple[nn.Module, ...]
    blocks: tuple[nn.Module, ...]  # the layers themselves
    is_last: bool  # the highest of them is the model's last
    num_heads: int  # of a layer
    head_dim: int

    def heads(self) -> tuple[Head, ...]:
        """All heads, in the order of the vectors."""
        return tuple(Head(layer, head) for layer in self.layers for head in range(self.num_heads))


def find_capture(model: nn.Module, config: Any, layers: tuple[int, ...]) -> Capture:
    """The projections of the asked layers.

    Raises: UnsupportedArchitecture if no softmax heads are found there, with what was looked
    for; ConfigError if there is no such layer.
    """
    family = FAMILIES.get(config.model_type)
    stack_name, stack = _layer_stack(model, config)
    chosen = _layers(layers, len(stack), config.model_type)
    names, projections = [], []
    for layer in chosen:
        _refuse_linear(config, layer)
        inner = family.projection if family else ""
        if not inner or not _has(stack[layer], inner):
            inner = _projection_name(stack[layer], config)
        projection = stack[layer].get_submodule(inner)
        _refuse_mixing(stack[layer], inner, config)
        names.append(f"{stack_name}.{layer}.{inner}")
        projections.append(projection)
    num_heads = int(config.num_attention_heads)
    widths = {input_width(projection) for projection in projections}
    head_dim, rest = divmod(widths.pop(), num_heads)
    stated = head_dims(config) or {head_dim}
    if widths or rest or head_dim not in stated:
        raise _unsupported(
            config,
            f"{names[-1]} takes {input_width(projections[-1])} numbers for {num_heads} heads "
            f"of {' or '.join(map(str, sorted(stated)))}",
        )
    blocks = tuple(stack[layer] for layer in chosen)
    is_last = chosen[-1] == len(stack) - 1
    return Capture(chosen, tuple(names), tuple(projections), blocks, is_last, num_heads, head_dim)


def head_dims(config: Any) -> set[int]:
    """How many numbers a head may have by the config; empty if it does not say."""
    found = set()
    # Where they differ by layer newer configs refuse to name one.
    for name in ("head_dim", "d_kv", "v_head_dim"):
        value = config.to_dict().get(name)
        if isinstance(value, int) and value > 0:
            found.add(value)
    return found


def is_causal(model: Any, projection: nn.Module) -> bool:
    """Whether a text's first token sees none of the others: asked of the model itself."""
    seen: list[torch.Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, 0]))
    last = int(model.get_input_embeddings().weight.shape[0]) - 1
    try:
        with torch.inference_mode():
            for ids in ([last, last - 1, last - 2], [last, last - 3, last - 4]):
                model(input_ids=torch.tensor([ids], device=model.device))
    finally:
        handle.remove()
    return bool(torch.allclose(seen[0], seen[1], rtol=1e-3, atol=1e-4))


def input_width(projection: nn.Module) -> int:
    """How many numbers a projection takes; GPT-2's Conv1D keeps its weight transposed."""
    if isinstance(projection, nn.Linear):
        return projection.in_features
    weight = getattr(projection, "weight", None)
    return int(weight.shape[0]) if weight is not None and weight.ndim == 2 else 0


def family_of(model: Any, capture: Capture) -> Family:
    """The family's row, or what the model shows of itself."""
    family = FAMILIES.get(model.config.model_type)
    causal = is_causal(model, capture.projections[-1])
    if family is None:
        family = UNKNOWN_CAUSAL if causal else UNKNOWN_BIDIRECTIONAL
        return replace(family, positions_after_pad=_positions_after_pad(model))
    if family.pooling == "last" and not causal:
        # A decoder made bidirectional, as EmbeddingGemma: no token has seen more than another.
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
    return any(name == found for found, _ in layer.named_modules())


def _layer_stack(model: nn.Module, config: Any) -> tuple[str, nn.ModuleList]:
    wanted = int(getattr(config, "num_hidden_layers", 0))
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted > 0:
            return name, module
    raise _unsupported(config, f"no list of {wanted} layers in {type(model).__name__}")


def _layers(asked: tuple[int, ...], num_layers: int, family: str) -> tuple[int, ...]:
    resolved = tuple(layer + num_layers if layer < 0 else layer for layer in asked)
    outside = [a for a, r in zip(asked, resolved, strict=True) if not 0 <= r < num_layers]
    if outside or not asked or len(set(resolved)) < len(resolved):
        raise ConfigError(
            f"encoder.layers = {list(asked)} for a {family} of {num_layers} layers",
            f"different layers from 0 to {num_layers - 1}, or from -1 down to {-num_layers}",
            "only the last layer's heads retrieve well: use [-1] unless you measured otherwise",
        )
    return tuple(sorted(resolved))


def _projection_name(layer: nn.Module, config: Any) -> str:
    """The last module in an attention block whose input is as wide as all heads together."""
    num_heads = int(config.num_attention_heads)
    dims = head_dims(config) or {config.hidden_size // num_heads}
    widths = {num_heads * dim for dim in dims}
    found = ""
    for name, module in layer.named_modules():
        path = name.split(".")
        in_attention = any(re.search(r"attn|attention|mixer", part, re.I) for part in path[:-1])
        if not in_attention or any("cross" in part.lower() for part in path):
            continue
        if path[-1] in PROJECTION_NAMES and input_width(module) in widths:
            found = name
    if not found:
        raise _unsupported(
            config,
            f"no module called {', '.join(PROJECTION_NAMES)} in an attention block of "
            f"{type(layer).__name__} that takes {num_heads} heads x "
            f"{' or '.join(map(str, sorted(dims)))}",
        )
    return found


def _refuse_linear(config: Any, layer: int) -> None:
    types = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    if types and types[layer] in LINEAR_LAYERS:
        softmax = [index for index, kind in enumerate(types) if kind not in LINEAR_LAYERS]
        raise _unsupported(
            config,
            f"layer {layer} is {types[layer]}: it has no softmax heads (layers that do: {softmax})",
        )


def _refuse_mixing(layer: nn.Module, projection: str, config: Any) -> None:
    parent = layer.get_submodule(projection.rpartition(".")[0])
    for name, _ in parent.named_children():
        if MIXING_NORMS.fullmatch(name):
            raise _unsupported(
                config, f"{name} normalises over all heads before {projection}: heads are mixed"
            )


def _unsupported(config: Any, found: str) -> UnsupportedArchitecture:
    return UnsupportedArchitecture(
        f"{config.model_type}: {found}",
        "a transformer whose last attention has softmax heads and an output projection",
        f"use a model of these families: {', '.join(sorted(FAMILIES))}; or choose encoder.layers",
    )
