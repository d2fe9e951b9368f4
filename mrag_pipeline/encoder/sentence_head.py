"""The layers that a sentence-transformers folder applies after pooling.

Source: sentence-transformers 6.2: `base/modules/dense.py`.

Shape legend: N texts, E model width, S the folder's own width after its dense layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from mrag_pipeline.encoder.model_folder import WEIGHTS, ModelFolder
from mrag_pipeline.encoder.sentence_folder import ACTIVATIONS, kind_of
from mrag_pipeline.errors import ModelNotFound, UnsafeWeights

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {name: getattr(nn, name) for name in ACTIVATIONS}


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


def sentence_head(folder: ModelFolder, width: int) -> SentenceHead | None:
    """The layers after the pooling; None if there are none.

    Raises: UnsafeWeights, ModelNotFound.
    """
    layers: list[nn.Module] = []
    for module in folder.modules():
        kind, path = kind_of(module), folder.root / module["path"]
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
