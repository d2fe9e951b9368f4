"""Reads a sentence-transformers folder, so that its sentence embedding can be reproduced.

Source: sentence-transformers 6.2: `base/modules/transformer.py`, `base/modules/dense.py`,
`sentence_transformer/modules/pooling.py`, `sentence_transformer/model.py` (prompts).

Shape legend: N texts, E model width, S the folder's own width after its dense layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from mrag_pipeline.encoder.families import ResolvedPooling
from mrag_pipeline.encoder.model_source import WEIGHTS, ModelFolder
from mrag_pipeline.errors import ModelNotFound, UnsafeWeights

# Dividing by the root of the length changes only a vector's norm, and we scale to unit norm.
_MODES: dict[str, ResolvedPooling] = {
    "cls": "cls",
    "cls_token": "cls",
    "mean": "mean",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean",
    "lasttoken": "last",
}
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "Identity": nn.Identity,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
}


@dataclass(frozen=True, slots=True)
class SentenceSettings:
    """The folder's own settings; empty for a folder without modules.json."""

    pooling: ResolvedPooling | Literal[""] = ""
    unknown: str = ""  # a step that cannot be reproduced
    max_tokens: int = 0  # 0: not stated
    lower_case: bool = False  # texts are lowercased before they reach the tokenizer
    query_prompt: str = ""
    document_prompt: str = ""


class SentenceHead(nn.Module):
    """The layers after pooling: (N, E) to (N, S)."""

    def __init__(self, layers: list[nn.Module], width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.width = width

    def forward(self, pooled: Tensor) -> Tensor:
        """(N, E) to (N, S)."""
        states: Tensor = self.layers(pooled)
        return states


class _Normalize(nn.Module):
    def forward(self, states: Tensor) -> Tensor:
        return normalize(states, dim=-1)


class _Dense(nn.Module):
    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.linear = _linear(weights, "linear")
        name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
        self.activation = _ACTIVATIONS[name.rpartition(".")[2]]()
        self.adds_input = bool(config.get("use_residual", False))
        self.residual = _linear(weights, "residual") if "residual.weight" in weights else None

    def forward(self, states: Tensor) -> Tensor:
        output: Tensor = self.activation(self.linear(states))
        if self.adds_input:
            output = output + (states if self.residual is None else self.residual(states))
        return output


def sentence_settings(folder: ModelFolder) -> SentenceSettings:
    """Reads the folder's settings."""
    modules = folder.modules()
    if not modules:
        return SentenceSettings()
    config = folder.json("sentence_bert_config.json")
    config = config or folder.json("sentence_bert_config.json", folder.root)
    pooling, unknown = _pooling(folder)
    prompts = folder.json("config_sentence_transformers.json", folder.root)
    return SentenceSettings(
        pooling,
        unknown,
        int(config.get("max_seq_length") or 0),
        bool(config.get("do_lower_case", False)),
        _prompt(prompts, ("query",)),
        _prompt(prompts, ("document", "passage", "corpus")),
    )


def sentence_head(folder: ModelFolder, width: int) -> SentenceHead | None:
    """The layers after the pooling; None if there are none.

    Raises: UnsafeWeights, ModelNotFound.
    """
    layers: list[nn.Module] = []
    for module in folder.modules():
        kind, path = _kind(module), folder.root / module["path"]
        if kind == "Dense":
            config = folder.json("config.json", path)
            layers.append(_Dense(config, _weights(path)))
            width = int(config["out_features"])
        elif kind == "LayerNorm":
            weights = _weights(path)
            norm = nn.LayerNorm(len(weights["norm.weight"]))
            norm.load_state_dict({key[5:]: value for key, value in weights.items()})
            layers.append(norm)
        elif kind == "Normalize":
            layers.append(_Normalize())
    if all(isinstance(layer, _Normalize) for layer in layers):
        return None  # the standard embedding has unit length in any case
    return SentenceHead(layers, width).eval()


def _pooling(folder: ModelFolder) -> tuple[ResolvedPooling | Literal[""], str]:
    pooling: ResolvedPooling | Literal[""] = ""
    unknown = ""
    for index, module in enumerate(folder.modules()):
        kind = _kind(module)
        config = folder.json("config.json", folder.root / module["path"])
        if kind == "Pooling":
            modes = _modes(config)
            if len(modes) == 1 and modes[0] in _MODES:
                pooling = _MODES[modes[0]]
            else:
                unknown = f"pooling by {' + '.join(modes)}"
            if not config.get("include_prompt", True):
                unknown = "pooling that excludes the prompt"
        elif kind == "Dense":
            name = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
            if name not in _ACTIVATIONS or "token_embeddings" in str(config.values()):
                unknown = f"a dense layer with {name}"
        elif index > 0 and kind not in ("LayerNorm", "Normalize"):
            unknown = f"a module {kind}"
    return pooling, unknown


def _modes(config: Mapping[str, Any]) -> list[str]:
    if mode := config.get("pooling_mode"):
        return [mode] if isinstance(mode, str) else list(mode)
    prefix = "pooling_mode_"
    modes = [name.removeprefix(prefix) for name, on in config.items() if prefix in name and on]
    return modes or ["mean"]


def _prompt(config: Mapping[str, Any], names: tuple[str, ...]) -> str:
    prompts = config.get("prompts") or {}
    for name in names:
        if name in prompts:
            return prompts[name] or ""
    # Only encode() uses the default prompt; encode_query() and encode_document() ignore it.
    return ""


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _weights(path: Path) -> dict[str, Tensor]:
    if (path / WEIGHTS).is_file():
        return {name: states.float() for name, states in load_file(path / WEIGHTS).items()}
    if any(path.glob("*.bin")):
        raise UnsafeWeights(
            f"only pickled weights in {path}",
            "safetensors: loading a pickle can run any code",
            "save the model again with a newer sentence-transformers, or set "
            "`encoder.standard_pooling`, which skips this layer",
        )
    raise ModelNotFound(
        f"no {WEIGHTS} in {path}", "the layer's weights", "download the model again"
    )


def _linear(weights: Mapping[str, Tensor], name: str) -> nn.Linear:
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    linear.load_state_dict(parameters)
    return linear
