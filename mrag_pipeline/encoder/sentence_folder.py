"""What a sentence-transformers folder says of itself: pooling, longest text.

Source: sentence-transformers 5, `models/Pooling.py` and `models/Transformer.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mrag_pipeline.encoder.architectures import ResolvedPooling
from mrag_pipeline.encoder.source import ModelFolder

# Dividing a mean by a length's root changes its length only, and ours is of unit length.
_MODES: dict[str, ResolvedPooling] = {
    "cls": "cls",
    "cls_token": "cls",
    "mean": "mean",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean",
    "lasttoken": "last",
}


@dataclass(frozen=True, slots=True)
class SentenceSettings:
    """Empty where the folder is no sentence-transformers one."""

    pooling: ResolvedPooling | Literal[""] = ""
    unknown_pooling: str = ""  # a pooling we cannot reproduce
    max_tokens: int = 0  # 0: not said


def sentence_settings(folder: ModelFolder) -> SentenceSettings:
    """The folder's own settings."""
    modules = folder.modules()
    if not modules:
        return SentenceSettings()
    longest = folder.json("sentence_bert_config.json").get("max_seq_length")
    longest = longest or folder.json("sentence_bert_config.json", folder.root).get("max_seq_length")
    pooling: ResolvedPooling | Literal[""] = ""
    unknown = ""
    for module in modules:
        if str(module.get("type", "")).endswith(".Pooling"):
            modes = _modes(folder.json("config.json", folder.root / module["path"]))
            if len(modes) == 1 and modes[0] in _MODES:
                pooling = _MODES[modes[0]]
            else:
                unknown = "+".join(modes)
    return SentenceSettings(pooling, unknown, int(longest or 0))


def _modes(config: dict[str, Any]) -> list[str]:
    if mode := config.get("pooling_mode"):
        return [mode] if isinstance(mode, str) else list(mode)
    prefix = "pooling_mode_"
    return [name.removeprefix(prefix) for name, on in config.items() if name[:13] == prefix and on]
