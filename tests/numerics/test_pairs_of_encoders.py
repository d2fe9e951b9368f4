"""Two encoders trained as a pair share one space of the whole embedding, not a space for each head.

Nothing in such training ties a head of one to the head of that name in the other: the values of a
head may be turned by any invertible matrix, and heads may change places, if the projection behind
them is turned back. The model's embedding, all that the pair is trained on, stays the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from mrag_pipeline.config import Config
from mrag_pipeline.domain.heads import Embeddings, Role
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.tiny_models import save_model

PASSAGES = [f"w{n} w{n + 7} w{2 * n} ." for n in range(12)]
QUESTIONS = [f"w{n} w{2 * n}" for n in range(12)]
HEADS, HEAD_DIM = 4, 8


def turned(folder: Path, copy: Path) -> Path:
    """The passage encoder with its last layer's heads turned and moved by one place."""
    model: Any = transformers.DPRContextEncoder.from_pretrained(str(folder))
    attention: Any = model.ctx_encoder.bert_model.encoder.layer[-1].attention
    inner, projection = attention.self, attention.output.dense
    chance = torch.Generator().manual_seed(1)
    matrices = torch.randn(HEADS, HEAD_DIM, HEAD_DIM, generator=chance)
    turns, _ = torch.linalg.qr(matrices)  # (H, D, D), a rotation each
    with torch.no_grad():
        for tensor, axis in (
            (inner.value.weight, 0),
            (inner.value.bias, 0),
            (projection.weight, 1),
        ):
            heads = tensor.movedim(axis, 0).unflatten(0, (HEADS, HEAD_DIM))
            rotated = torch.einsum("hde,he...->hd...", turns, heads)
            tensor.copy_(rotated.roll(1, dims=0).flatten(0, 1).movedim(0, axis))
        for part in (inner.query, inner.key):  # what a head attends to moves with it
            for tensor in (part.weight, part.bias):
                heads = tensor.unflatten(0, (HEADS, HEAD_DIM))
                tensor.copy_(heads.roll(1, dims=0).flatten(0, 1))
    model.save_pretrained(str(copy))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).write_bytes((folder / name).read_bytes())
    return copy


def embedded(folder: Path, texts: list[str], role: Role) -> Embeddings:
    """By the encoder in the folder."""
    return load_encoder(EncoderSpec(str(folder)), device="cpu").encode(texts, role)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A question encoder, its passage encoder, and the same passage encoder with turned heads."""
    folder = tmp_path_factory.mktemp("pair")
    questions = save_model("dpr", folder / "questions", "DPRQuestionEncoder", seed=7)
    passages = save_model("dpr", folder / "passages", "DPRContextEncoder", seed=7)
    return questions, passages, turned(passages, folder / "turned")


def test_turned_heads_are_the_same_model(pair: tuple[Path, Path, Path]) -> None:
    """No training on the pair's embeddings could tell the two passage encoders apart."""
    _, passages, other = pair
    np.testing.assert_allclose(
        embedded(passages, PASSAGES, "document").standard,
        embedded(other, PASSAGES, "document").standard,
        atol=2e-5,
    )


def nearest(questions: Embeddings, passages: Embeddings) -> np.ndarray:
    """(Q, H): the passage that each head finds for each question."""
    scores = np.einsum("qhd,phd->qhp", questions.heads, passages.heads)
    return np.argmax(scores, axis=2)


def test_what_its_heads_find_is_another_thing(pair: tuple[Path, Path, Path]) -> None:
    """The same questions and passages: with turned heads most of their hits are others."""
    asked = embedded(pair[0], QUESTIONS, "query")
    before = nearest(asked, embedded(pair[1], PASSAGES, "document"))
    after = nearest(asked, embedded(pair[2], PASSAGES, "document"))
    assert np.mean(before == after) < 0.5


@pytest.mark.parametrize("key", ["query_model", "question_model", "passage_model"])
def test_a_second_model_is_refused_with_the_reason(key: str) -> None:
    """By name, before anything is loaded."""
    pair_of = {"model": "facebook/dpr-ctx_encoder-single-nq-base", key: "facebook/other"}
    with pytest.raises(ConfigError, match="one encoder for questions and passages") as refused:
        Config.parse({"encoder": pair_of})
    assert key in refused.value.found
    assert "0103" in refused.value.fix
