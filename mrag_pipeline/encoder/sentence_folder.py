"""Reads a sentence-transformers folder's settings: pooling, longest text, prompts.

What it applies after pooling is in sentence_head.py. Knows nothing of torch.

Source: sentence-transformers 6.2: `base/modules/transformer.py`,
`sentence_transformer/modules/pooling.py`, `sentence_transformer/model.py` (prompts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mrag_pipeline.encoder.families import ResolvedPooling
from mrag_pipeline.encoder.model_folder import ModelFolder

# Dividing by the root of the length changes only a vector's norm, and we scale to unit norm.
_MODES: dict[str, ResolvedPooling] = {
    "cls": "cls",
    "cls_token": "cls",
    "mean": "mean",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean",
    "lasttoken": "last",
}
# Their names are those of torch.nn.
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")


@dataclass(frozen=True, slots=True)
class SentenceSettings:
    """The folder's own settings; empty for a folder without modules.json."""

    pooling: ResolvedPooling | Literal[""] = ""
    unknown: str = ""  # a step that cannot be reproduced
    max_tokens: int = 0  # 0: not stated
    lower_case: bool = False  # texts are lowercased before they reach the tokenizer
    query_prompt: str = ""
    document_prompt: str = ""


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


def _pooling(folder: ModelFolder) -> tuple[ResolvedPooling | Literal[""], str]:
    pooling: ResolvedPooling | Literal[""] = ""
    unknown = ""
    for index, module in enumerate(folder.modules()):
        kind = kind_of(module)
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
            if name not in ACTIVATIONS or "token_embeddings" in str(config.values()):
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


def kind_of(module: Mapping[str, Any]) -> str:
    """The name of the class that a module of modules.json is."""
    return str(module.get("type", "")).rpartition(".")[2]
