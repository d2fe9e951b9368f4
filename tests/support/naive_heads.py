"""Encodes one text at a time through plain transformers: every faster path must equal this.

Uses nothing of our encoder, and has a table of its own of where the heads are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from tests.support.tiny_models import MAX_POSITIONS

PROJECTIONS = {
    "bert": "encoder.layer.2.attention.output.dense",
    "dpr": "question_encoder.bert_model.encoder.layer.2.attention.output.dense",
    "electra": "encoder.layer.2.attention.output.dense",
    "roberta": "encoder.layer.2.attention.output.dense",
    "xlm-roberta": "encoder.layer.2.attention.output.dense",
    "mpnet": "encoder.layer.2.attention.attn.o",
    "distilbert": "transformer.layer.2.attention.out_lin",
    "modernbert": "layers.3.attn.Wo",
    "mistral": "layers.2.self_attn.o_proj",
    "llama": "layers.2.self_attn.o_proj",
    "qwen2": "layers.2.self_attn.o_proj",
    "qwen3": "layers.2.self_attn.o_proj",
    "gemma": "layers.2.self_attn.o_proj",
    "gemma2": "layers.3.self_attn.o_proj",
    "gemma3_text": "layers.3.self_attn.o_proj",
    "phi3": "layers.2.self_attn.o_proj",
    "gpt2": "h.2.attn.c_proj",
    "opt": "decoder.layers.2.self_attn.out_proj",
    "t5": "encoder.block.2.layer.0.SelfAttention.o",
    "nomic_bert": "layers.2.self_attn.o_proj",
    "gte": "layers.2.self_attn.o_proj",
}
CLASSES = {"dpr": "DPRQuestionEncoder", "t5": "T5EncoderModel"}
TOLERANCE = 1e-5  # relative to the largest number of the array

# None, one word, odd and even lengths, the maximum, just over it, far over it, a repeated text:
# 2 tokens and more with special ones, 1 and more without.
TEXTS = [
    "",
    "w1",
    "w2 w3",
    "w4 w5 w6 w7 w8 w9 w10",
    " ".join(f"w{number % 60}" for number in range(MAX_POSITIONS - 2)),
    " ".join(f"w{number % 60}" for number in range(MAX_POSITIONS - 1)),
    " ".join(f"w{number * 7 % 60}" for number in range(3 * MAX_POSITIONS)),
    "unknown w11 . w12",
    "w2 w3",
    " ".join(f"w{number * 3 % 60}" for number in range(19)),
]


@dataclass(frozen=True)
class Naive:
    heads: NDArray[np.float32]  # (N, H*D)
    standard: NDArray[np.float32]  # (N, E), unit length
    num_tokens: list[int]


def _pool(states: torch.Tensor, pooling: str) -> torch.Tensor:
    return {"cls": states[0, 0], "last": states[0, -1], "mean": states[0].mean(0)}[pooling]


def encode_naively(
    folder: Path,
    texts: list[str],
    *,
    projection: str,
    pooling: str,
    standard: str,
    max_tokens: int,
    model_class: str = "AutoModel",
) -> Naive:
    """Each text alone in a batch of one, no padding, eager attention."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = getattr(transformers, model_class).from_pretrained(
        str(folder), attn_implementation="eager", dtype=torch.float32
    )
    model.eval()
    seen: list[torch.Tensor] = []
    model.get_submodule(projection).register_forward_pre_hook(
        lambda _, args: seen.append(_pool(args[0].float(), pooling))
    )
    finals, lengths = [], []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]
        ids = ids or [tokenizer.eos_token_id]  # no special tokens, no words
        with torch.no_grad():
            output = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        states = getattr(output, "last_hidden_state", None)
        final = output.hidden_states[-1] if states is None else states
        finals.append(torch.nn.functional.normalize(_pool(final.float(), standard), dim=0))
        lengths.append(len(ids))
    return Naive(torch.stack(seen).numpy(), torch.stack(finals).numpy(), lengths)


def naive_heads(family: str, folder: Path, pooling: str, standard: str) -> Naive:
    """TEXTS by the naive loop over a tiny model of the family."""
    return encode_naively(
        folder,
        TEXTS,
        projection=PROJECTIONS[family],
        pooling=pooling,
        standard=standard,
        max_tokens=MAX_POSITIONS,
        model_class=CLASSES.get(family, "AutoModel"),
    )


def difference(ours: NDArray[np.floating[Any]], theirs: NDArray[np.floating[Any]]) -> float:
    """The largest difference, relative to the largest number of `theirs`."""
    theirs = theirs.reshape(ours.shape)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
