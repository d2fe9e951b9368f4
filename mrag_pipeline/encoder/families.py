"""The families of models that are known, a row each: where their heads are, how they are pooled.

To add a family, add its row to FAMILIES. If its layers end in a way that no row has yet, write
that as a function in pooled_layer.py; without one the family works too, only more slowly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mrag_pipeline.encoder import pooled_layer
from mrag_pipeline.encoder.pooled_layer import FinishLayer

ResolvedPooling = Literal["cls", "last", "mean"]


@dataclass(frozen=True, slots=True)
class Family:
    """How a family of models is read."""

    projection: str  # of the attention output, within a layer; "": found by structure
    pooling: ResolvedPooling  # of the heads
    standard: ResolvedPooling  # of the standard embedding
    finish_layer: FinishLayer | None = None  # what a layer does after its attention
    final_norm: str = ""  # of the model, after its last layer
    positions_after_pad: bool = False  # RoBERTa's positions begin at pad id + 1


_BERT = Family("attention.output.dense", "cls", "cls", pooled_layer.finish_bert)
_ROBERTA = replace(_BERT, standard="mean", positions_after_pad=True)
_CAUSAL = Family("self_attn.o_proj", "last", "last", pooled_layer.finish_pre_norm, "norm")
_SANDWICH = replace(_CAUSAL, finish_layer=pooled_layer.finish_sandwich)
_POST_NORM = Family("self_attn.o_proj", "cls", "cls", pooled_layer.finish_post_norm)
_T5 = Family("layer.0.SelfAttention.o", "mean", "mean")

# transformers' class for encoder-decoder families whose checkpoints may hold the encoder alone.
ENCODER_CLASSES = {
    "mt5": "MT5EncoderModel",
    "t5": "T5EncoderModel",
    "umt5": "UMT5EncoderModel",
}

# Used for a family without a row; its projection is found by structure.
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
    "modernbert": Family("attn.Wo", "cls", "cls", pooled_layer.finish_modernbert, "final_norm"),
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
