"""Models with an attention of their own, or in no table, equal the naive loop too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import transformers
from transformers.models.gemma2.modeling_gemma2 import Gemma2PreTrainedModel

from mrag_pipeline.encoder.model_loading import load_model
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.naive_heads import (
    TEXTS,
    TOLERANCE,
    difference,
    encode_naively,
    naive_heads,
)
from tests.support.tiny_models import MAX_POSITIONS, save_model

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("family", "path", "pooling", "changes"),
    [
        ("bloom", "padded", "last", {}),  # ALiBi, and nothing says that it is causal
        ("convbert", "one at a time", "cls", {}),  # a convolution reads across the padding
        ("xlm-roberta-xl", "packed", "cls", {"pad_token_id": 1, "max_position_embeddings": 50}),
        ("phi", "packed", "last", {}),
        ("gemma3_text", "packed", "mean", {"use_bidirectional_attention": True}),
    ],
)
def test_a_family_in_no_table_is_examined_when_loaded(
    family: str, path: str, pooling: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Causality, positions and the exact path are determined from the model itself."""
    folder = save_model(family, tmp_path, num_key_value_heads=4, **changes)
    encoder = load_encoder(EncoderSpec(str(folder), max_tokens=MAX_POSITIONS - 2))
    assert (encoder.path, encoder.card.pooling) == (path, pooling)
    expected = encode_naively(
        folder,
        TEXTS,
        projection=encoder.capture.names[-1],
        pooling=pooling,
        standard=encoder.card.standard_pooling,
        max_tokens=MAX_POSITIONS - 2,
    )
    ours = encoder.encode(TEXTS, "document")
    assert difference(ours.heads, expected.heads) < TOLERANCE
    assert difference(ours.standard, expected.standard) < TOLERANCE


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_a_cap_on_scores_is_kept_where_sdpa_ignores_it(
    packed: bool,
    dtype: Literal["float32", "bfloat16"],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Gemma 2 caps its attention scores; SDPA ignores the cap on transformers 5.17, as here."""
    sdpa: Any = transformers.AttentionInterface._global_mapping["sdpa"]

    def forgetful(*args: Any, softcap: float | None = None, **kwargs: Any) -> Any:
        return sdpa(*args, **kwargs)

    monkeypatch.setitem(transformers.AttentionInterface._global_mapping, "sdpa", forgetful)
    monkeypatch.setattr(Gemma2PreTrainedModel, "_supports_sdpa", True)
    folder = save_model("gemma2", tmp_path, attn_logit_softcapping=0.7)
    # In half precision a milder cap would look like rounding, so comparing is not enough.
    model = load_model(find_model(EncoderSpec(str(folder))), getattr(torch, dtype))
    assert model.config._attn_implementation == "eager"
    encoder = load_encoder(EncoderSpec(str(folder), dtype=dtype), packed=packed)
    assert encoder.path == ("packed" if packed else "padded")
    expected = naive_heads("gemma2", folder, "last", "last")
    ours = encoder.encode(TEXTS, "document")
    tolerance = TOLERANCE if dtype == "float32" else 2e-2
    assert difference(ours.heads, expected.heads) < tolerance
    assert difference(ours.standard, expected.standard) < tolerance


def test_a_fused_attention_that_differs_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The padded path is compared with eager attention, which replaces it if they differ."""
    sdpa: Any = transformers.AttentionInterface._global_mapping["sdpa"]

    def halved(*args: Any, **kwargs: Any) -> Any:
        return sdpa(*args, **kwargs)[0] / 2, None

    monkeypatch.setitem(transformers.AttentionInterface._global_mapping, "sdpa", halved)
    folder = save_model("qwen3", tmp_path)
    encoder = load_encoder(EncoderSpec(str(folder)), packed=False)
    assert encoder.path == "padded"
    expected = naive_heads("qwen3", folder, "last", "last")
    assert difference(encoder.encode(TEXTS, "document").heads, expected.heads) < TOLERANCE


def test_attention_sinks_are_left_to_the_padded_path(tmp_path: Path) -> None:
    """GPT-OSS adds a sink to each softmax, which the packed attention does not support."""
    sizes: dict[str, Any] = {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8}
    folder = save_model("gpt_oss", tmp_path, vocab_size=80, sliding_window=8, **sizes)
    encoder = load_encoder(EncoderSpec(str(folder)))
    assert encoder.path == "padded"
    expected = encode_naively(
        folder,
        TEXTS,
        projection="layers.2.self_attn.o_proj",
        pooling="last",
        standard="last",
        max_tokens=MAX_POSITIONS,
    )
    assert difference(encoder.encode(TEXTS, "document").heads, expected.heads) < TOLERANCE


def test_a_dpr_context_encoder_reads_its_own_weights(tmp_path: Path) -> None:
    """The class named in the folder is loaded, not the question encoder."""
    folder = save_model("dpr", tmp_path, "DPRContextEncoder")
    ours = load_encoder(EncoderSpec(str(folder))).encode(TEXTS, "document")
    expected = encode_naively(
        folder,
        TEXTS,
        projection="ctx_encoder.bert_model.encoder.layer.2.attention.output.dense",
        pooling="cls",
        standard="cls",
        max_tokens=MAX_POSITIONS,
        model_class="DPRContextEncoder",
    )
    assert difference(ours.heads, expected.heads) < TOLERANCE
