from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mrag_pipeline.encoder.families import FAMILIES
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.errors import BadVectors, ConfigError, UnsupportedArchitecture
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.tiny_models import CONFIGS, MAX_POSITIONS, save_model

_NEXT: dict[str, Any] = {
    "vocab_size": 80,
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("bert", tmp_path_factory.mktemp("bert"))


@pytest.mark.parametrize("family", CONFIGS)
def test_an_unlisted_family_is_found_by_structure(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the family's table entry the same projection is found."""
    folder = str(save_model(family, tmp_path))
    listed = load_encoder(EncoderSpec(folder))
    monkeypatch.delitem(FAMILIES, family)
    assert load_encoder(EncoderSpec(folder)).capture.names == listed.capture.names


def test_a_linear_attention_layer_has_no_heads(tmp_path: Path) -> None:
    """The message names the layers that have heads; any of them can be selected."""
    types = ["linear_attention", "full_attention", "linear_attention"]
    folder = str(save_model("qwen3_next", tmp_path, layer_types=types, **_NEXT))
    with pytest.raises(UnsupportedArchitecture, match=r"linear_attention.*\[1\]"):
        load_encoder(EncoderSpec(folder))
    assert load_encoder(EncoderSpec(folder, layers=(1,))).capture.names == (
        "layers.1.self_attn.o_proj",
    )


@pytest.mark.parametrize("family", ["bitnet"])
def test_a_norm_that_mixes_heads_is_refused(family: str, tmp_path: Path) -> None:
    """After such a norm a head's vector depends on all other heads."""
    folder = str(save_model(family, tmp_path))
    with pytest.raises(UnsupportedArchitecture, match="mixed"):
        load_encoder(EncoderSpec(folder))


def test_a_model_without_attention_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    """Mamba has no heads at all."""
    folder = str(save_model("mamba", tmp_path, num_hidden_layers=2, state_size=4))
    with pytest.raises(UnsupportedArchitecture, match="mamba") as caught:
        load_encoder(EncoderSpec(folder))
    assert "projection" in caught.value.expected


@pytest.mark.parametrize("layers", [(3,), (-4,), (), (0, 0), (2, -1)])
def test_layers_must_exist_and_differ(layers: tuple[int, ...], bert: Path) -> None:
    """A BERT of 3 layers has 0, 1, 2."""
    with pytest.raises(ConfigError, match=r"encoder\.layers"):
        load_encoder(EncoderSpec(str(bert), layers=layers))


def test_more_tokens_than_positions_are_refused(bert: Path) -> None:
    """The model has learned no position beyond its last."""
    with pytest.raises(ConfigError, match="max_tokens"):
        load_encoder(EncoderSpec(str(bert), max_tokens=MAX_POSITIONS + 1))


def test_long_rope_is_read_up_to_where_its_angles_change(tmp_path: Path) -> None:
    """Beyond 16 positions a text would change the vectors of the others in its batch."""
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 16}
    rope |= {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    changes: dict[str, Any] = {"rope_parameters": rope, "original_max_position_embeddings": 16}
    folder = save_model("phi3", tmp_path, **changes)
    assert load_encoder(EncoderSpec(str(folder))).card.max_tokens == 16


def test_an_absent_device_is_refused(bert: Path) -> None:
    """The error comes before anything is embedded."""
    with pytest.raises(ConfigError, match="device"):
        load_encoder(EncoderSpec(str(bert)), device="cuda:99")
    with pytest.raises(ConfigError, match="device"):
        load_encoder(EncoderSpec(str(bert)), device="quantum")


def test_a_model_that_gives_nan_is_an_error_not_an_index(tmp_path: Path) -> None:
    """NaN weights make NaN vectors."""
    folder = save_model("bert", tmp_path)
    encoder = load_encoder(EncoderSpec(str(folder)))
    with torch.no_grad():
        next(encoder.model.parameters()).fill_(float("nan"))
    with pytest.raises(BadVectors):
        encoder.encode(["w1"], "document")
