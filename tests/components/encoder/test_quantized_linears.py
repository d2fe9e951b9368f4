from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mrag_pipeline.encoder import int8_check, quantized_linears
from mrag_pipeline.encoder.int8_ranges import Scale
from mrag_pipeline.encoder.quantized_linears import (
    QuantizedLinears,
    check_int8,
    has_int8_operators,
    multiplies_int8,
)
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.tiny_models import save_model

needs_int8 = pytest.mark.skipif(
    not (multiplies_int8() and has_int8_operators()),
    reason="this CPU or torch has no int8 products",
)


class Model(nn.Module):
    """Two layers with GELU between them as BERT has, before them two that read the same input."""

    device = torch.device("cpu")

    class _Config:
        model_type = "made"

    config = _Config()

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding = nn.Embedding(50, 64)
        self.left, self.right = nn.Linear(64, 64), nn.Linear(64, 64, bias=False)
        self.dense, self.intermediate_act_fn = nn.Linear(64, 200), nn.GELU()
        self.down = nn.Linear(200, 64)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        states = self.embedding(input_ids)
        states = self.left(states) + self.right(states)
        output: torch.Tensor = self.down(self.intermediate_act_fn(self.dense(states)))
        return output


@needs_int8
@pytest.mark.parametrize("rows", [1, 3, 260])
def test_int8_layers_compute_nearly_the_same(rows: int) -> None:
    """Within 2% of the largest number, for any number of rows; all four layers are replaced."""
    model, ids = Model(), torch.arange(rows)[None] % 50
    linears = QuantizedLinears(model, [list(range(50))])
    with torch.inference_mode():
        expected = model(ids)
        linears.on()
        actual = model(ids)
    assert linears.num_linears == 4
    assert actual.shape == expected.shape
    difference = float((actual - expected).abs().max() / expected.abs().max())
    assert 1e-4 < difference < 2e-2


@needs_int8
def test_numbers_beyond_the_range_are_held_at_its_end() -> None:
    """A text with larger numbers than those measured gives finite ones of the same sign."""
    layer = nn.Linear(8, 8, bias=False)
    model = nn.Sequential(layer)
    nn.init.eye_(layer.weight)
    asked = _Asked(model)
    QuantizedLinears(asked, [[1]]).on()
    with torch.inference_mode():
        held = model(torch.full((1, 8), 1e6))
    assert torch.allclose(held, torch.full((1, 8), float(held[0, 0])))
    assert 0.9 < float(held[0, 0]) < 1.3


class _Asked(nn.Module):
    """Runs layers on ones."""

    device = torch.device("cpu")

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layers(torch.ones(input_ids.shape[1], 8))
        return output


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 0.0), (-5.0, 0.0), (-0.17, 24.0)])
def test_a_scale_reaches_over_its_range(low: float, high: float) -> None:
    """Both ends are within a step, and zero is a step itself."""
    scale = Scale.over(low, high)
    assert 0 <= scale.zero <= 255
    assert -scale.zero * scale.step <= low + scale.step
    assert (255 - scale.zero) * scale.step >= high - scale.step


def _lacks_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized_linears, "multiplies_int8", lambda: False)


def _lacks_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized_linears, "multiplies_int8", lambda: True)
    monkeypatch.setattr(quantized_linears, "has_int8_operators", lambda: False)


@pytest.mark.parametrize(
    ("device", "without", "found"),
    [
        ("cuda:0", None, "device cuda:0"),
        ("cpu", _lacks_vnni, "without AVX-512 VNNI and AMX"),
        ("cpu", _lacks_operators, "without oneDNN's integer products"),
    ],
)
def test_a_machine_that_cannot_is_refused(
    device: str,
    without: Callable[[pytest.MonkeyPatch], None] | None,
    found: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says what the machine lacks and which setting helps."""
    if without is not None:
        without(monkeypatch)
    with pytest.raises(ConfigError, match=found) as refused:
        check_int8(torch.device(device))
    assert "encoder.dtype = 'float32'" in str(refused.value)


def test_an_encoder_on_such_a_machine_is_not_loaded(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never encodes in float32 instead."""
    folder = str(save_model("bert", tmp_path_factory.mktemp("bert")))
    _lacks_vnni(monkeypatch)
    with pytest.raises(ConfigError, match="AVX-512 VNNI"):
        load_encoder(EncoderSpec(folder, dtype="int8"), device="cpu")


@needs_int8
def test_a_model_without_linear_layers_is_refused() -> None:
    """GPT-2, for example, has layers of its own."""
    model = Model()
    model.left = model.right = model.dense = model.down = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="without linear layers"):
        QuantizedLinears(model, [[1, 2]])


@needs_int8
def test_vectors_far_from_float32_are_refused(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the cosines."""
    folder = str(save_model("bert", tmp_path_factory.mktemp("bert")))
    monkeypatch.setattr(int8_check, "MIN_COSINE", 1.1)
    with pytest.raises(ConfigError, match=r"mean cosine: heads "):
        load_encoder(EncoderSpec(folder, dtype="int8"), device="cpu")


@needs_int8
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "qwen3"])
def test_families_encode_in_int8(
    family: str, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """Packed, and a log line says that int8 is on."""
    caplog.set_level("INFO")
    folder = str(save_model(family, tmp_path_factory.mktemp(family)))
    encoder = load_encoder(EncoderSpec(folder, dtype="int8"), device="cpu")
    encoder.encode(["w1 w2 w3", "w4"], "document")
    assert encoder.path == "packed"
    assert any(message.startswith("encoder_int8 ") for message in caplog.messages)
