from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mrag_pipeline.encoder import linear_layers, transformer
from mrag_pipeline.encoder.linear_layers import FastLinears
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.tiny_models import save_model

TEXTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model("bert", tmp_path_factory.mktemp("bert")))


class Block(nn.Module):
    """Built like BERT's intermediate layer."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.dense = nn.Linear(5, 7)
        self.intermediate_act_fn = activation

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor = self.intermediate_act_fn(self.dense(states))
        return activated


def needs_onednn(model: nn.Module, onednn: bool = True) -> FastLinears:
    fast = FastLinears(model, onednn)
    if onednn and fast.unable():
        pytest.skip(fast.unable())
    return fast


@pytest.mark.parametrize("activation", [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Identity()])
@pytest.mark.parametrize("rows", [1, 3, 17])
@pytest.mark.parametrize("onednn", [True, False])
def test_fast_layers_compute_the_same(activation: nn.Module, rows: int, onednn: bool) -> None:
    """With any activation and number of rows; switched off, the original layers are back."""
    torch.manual_seed(1)
    block, states = Block(activation), torch.randn(2, rows, 5)
    with torch.inference_mode():
        expected = block(states)
        fast = needs_onednn(block, onednn)
        fast.on()
        torch.testing.assert_close(block(states), expected, atol=1e-6, rtol=1e-5)
        fast.off()
        assert torch.equal(block(states), expected)
    assert block.intermediate_act_fn is activation


def test_kernels_are_prepared_for_few_numbers_of_rows() -> None:
    """There is one kernel per number of rows: 64 numbers up to 256 rows, 56 from there to 2,048."""
    made = {rows + linear_layers.missing_rows(rows) for rows in range(1, 2_049)}
    assert len(made) == 120
    assert all(0 <= linear_layers.missing_rows(rows) < max(4, rows / 8) for rows in range(1, 2_049))


def test_hooks_still_see_the_inputs() -> None:
    """Head capture reads the heads with a hook."""
    block = Block(nn.GELU())
    needs_onednn(block).on()
    seen: list[torch.Tensor] = []
    block.dense.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    states = torch.randn(3, 5)
    with torch.inference_mode():
        block(states)
    assert torch.equal(seen[0], states)


def test_a_layer_without_bias_has_none() -> None:
    """All of Llama's layers are like this."""
    linear = nn.Sequential(nn.Linear(4, 3, bias=False))
    states = torch.randn(2, 4)
    with torch.inference_mode():
        expected = linear(states)
        needs_onednn(linear).on()
        torch.testing.assert_close(linear(states), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "why"),
    [(nn.LayerNorm(3), "no linear"), (nn.Sequential(nn.Linear(2, 2).half()), "float32")],
)
def test_what_cannot_be_made_faster_says_why(model: nn.Module, why: str) -> None:
    """The model is left unchanged."""
    assert why in FastLinears(model).unable()


def test_without_avx512_torch_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then only GELU is replaced, by one in place, and only where a block ends in it."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert "AVX2" in FastLinears(nn.Sequential(nn.Linear(2, 2))).unable()
    model = nn.Sequential(Block(nn.GELU()), nn.Linear(7, 7))
    fast = FastLinears(model)
    assert not fast.unable()
    fast.on()
    changed = [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert changed == ["0.dense"]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert linear_layers.onednn_is_faster()


def test_a_second_copy_of_large_weights_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 weights take 400 bytes, 399 are allowed."""
    monkeypatch.setattr(linear_layers, "MAX_LAYOUT_BYTES", 399)
    assert "GiB" in FastLinears(nn.Sequential(nn.Linear(10, 10)), onednn=True).unable()


@pytest.mark.parametrize(
    ("onednn", "way"), [(True, "multiplier"), (False, "_gelu_in_place")], ids=["onednn", "torch"]
)
def test_an_encoder_uses_fast_layers_unless_they_differ(
    onednn: bool,
    way: str,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are compared with the model's own first; if they differ, the log says so."""
    expected = load_encoder(EncoderSpec(folder), packed=False).encode(TEXTS, "document")
    monkeypatch.setattr(linear_layers, "onednn_is_faster", lambda: onednn)
    encoder = load_encoder(EncoderSpec(folder))
    needs_onednn(encoder.model, onednn)
    last: Any = encoder.model.get_submodule("encoder.layer.2.intermediate.dense")
    assert "forward" in vars(last)
    multiplier = getattr(linear_layers, way)
    monkeypatch.setattr(
        linear_layers, way, lambda *args: lambda states: multiplier(*args)(states) * 1.01
    )
    with caplog.at_level(logging.INFO):
        encoder = load_encoder(EncoderSpec(folder))
    last = encoder.model.get_submodule("encoder.layer.2.intermediate.dense")
    assert "forward" not in vars(last)
    assert any("encoder_plain_linears" in m and "differ" in m for m in caplog.messages)
    embeddings = encoder.encode(TEXTS, "document")
    np.testing.assert_allclose(embeddings.heads, expected.heads, atol=1e-6)


@pytest.mark.parametrize("able", [True, False])
def test_bfloat16_on_a_cpu_without_it_is_warned_of(
    able: bool, folder: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The result is exact but slow, so the log gives the reason."""
    monkeypatch.setattr(transformer, "multiplies_bfloat16", lambda: able)
    load_encoder(EncoderSpec(folder, dtype="bfloat16"), device="cpu")
    warned = [m for m in caplog.messages if "encoder_slow dtype=bfloat16" in m]
    assert bool(warned) is not able
