from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from mrag_pipeline.encoder import int8_check, quantized_linears, transformer
from mrag_pipeline.encoder.calibration_texts import CALIBRATION_TEXTS, CHECK_TEXTS
from mrag_pipeline.encoder.int8_check import use_int8
from mrag_pipeline.encoder.int8_method import CALIBRATION_TOKENS, method_hash
from mrag_pipeline.encoder.int8_ranges import Scale
from mrag_pipeline.encoder.quantized_linears import (
    QuantizedLinears,
    check_int8,
    has_int8_operators,
    multiplies_int8,
)
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.errors import ConfigError, UnsupportedArchitecture
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


@needs_int8
def test_the_card_holds_the_method(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Another method is another encoder; float32's card has none."""
    folder = str(save_model("bert", tmp_path_factory.mktemp("bert")))
    card = load_encoder(EncoderSpec(folder, dtype="int8"), device="cpu").card
    assert card.identity()["int8"] == method_hash()
    assert "int8" not in load_encoder(EncoderSpec(folder), device="cpu").card.identity()


@needs_int8
def test_ranges_and_check_have_texts_of_their_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check sees none of the texts that the ranges were measured on."""
    asked: list[object] = []

    class Linears(QuantizedLinears):
        def __init__(self, model: nn.Module, rows: Sequence[Sequence[int]]) -> None:
            asked.append(rows)
            super().__init__(model, rows)

    def use(*args: object) -> object:
        asked.append(args[-1])
        return use_int8(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(transformer, "QuantizedLinears", Linears)
    monkeypatch.setattr(transformer, "use_int8", use)
    folder = str(save_model("bert", tmp_path_factory.mktemp("bert")))
    encoder = load_encoder(EncoderSpec(folder, dtype="int8"), device="cpu")
    longest = min(CALIBRATION_TOKENS, encoder.card.max_tokens)
    texts = (CALIBRATION_TEXTS, CHECK_TEXTS)
    assert asked == [encoder.tokenizer.ids(list(part), longest) for part in texts]


class _Turned:
    """A path whose second pass gives the first one's vectors, some of them turned."""

    name = "turned"

    def __init__(self, cosines: Sequence[float], standard: float) -> None:
        self._cosines = [torch.ones(len(cosines) + 1), torch.tensor([*cosines, standard])]

    def batches(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        raise NotImplementedError

    def run(
        self, rows: Sequence[Sequence[int]], want_standard: bool
    ) -> tuple[Tensor, Tensor | None]:
        cosines = self._cosines.pop(0)
        vectors = torch.stack([cosines, (1 - cosines**2).sqrt()], 1).repeat(len(rows), 1, 1)
        return vectors[:, :-1], vectors[:, -1]


@needs_int8
@pytest.mark.parametrize(
    ("cosines", "standard", "found"),
    [
        ([1.0] * 12, 1.0, ""),
        ([*[1.0] * 11, 0.97], 1.0, ""),
        ([*[1.0] * 11, 0.8], 1.0, "heads 0.983, the worst head 0.800, standard 1.000"),
        ([0.975] * 12, 1.0, "heads 0.975, the worst head 0.975, standard 1.000"),
        ([1.0] * 12, 0.97, "heads 1.000, the worst head 1.000, standard 0.970"),
        ([*[1.0] * 11, float("nan")], 1.0, "the worst head nan"),
    ],
)
def test_one_bad_head_is_enough(cosines: list[float], standard: float, found: str) -> None:
    """The mean over heads does not hide it; the standard vector counts too."""
    model, path = Model(), _Turned(cosines, standard)
    linears = QuantizedLinears(model, [[1, 2]])
    if not found:
        assert use_int8(model, path, linears, [[1, 2], [3]]).name == "turned"
        return
    with pytest.raises(ConfigError, match=found):
        use_int8(model, path, linears, [[1, 2], [3]])


@needs_int8
def test_a_model_that_does_not_run_is_refused_by_name() -> None:
    """While ranges are measured, as while a path is chosen."""
    model = Model()
    model.left = nn.Linear(32, 64)  # not the width of what it reads
    with pytest.raises(UnsupportedArchitecture, match="made: the model does not run"):
        QuantizedLinears(model, [[1, 2]])


@needs_int8
def test_weights_that_cannot_be_laid_out_are_refused(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of oneDNN is no traceback: the setting that helps is named."""

    def fails(*_: object) -> None:
        raise RuntimeError("could not create a primitive")

    folder = str(save_model("bert", tmp_path_factory.mktemp("bert")))
    monkeypatch.setattr(quantized_linears, "_Product", fails)
    with pytest.raises(ConfigError, match="could not create a primitive") as refused:
        load_encoder(EncoderSpec(folder, dtype="int8"), device="cpu")
    assert "encoder.dtype = 'float32'" in str(refused.value)


class _InPlace(Model):
    """Changes what two layers read between their reads, and what GELU gave."""

    def forward(self, input_ids: Tensor) -> Tensor:
        states = self.embedding(input_ids)
        left = self.left(states)
        states.neg_()
        states = left + self.right(states)
        inner = self.intermediate_act_fn(self.dense(states))
        inner.neg_()
        output: Tensor = self.down(inner)
        return output


@needs_int8
def test_an_input_that_is_changed_in_place_is_read_again() -> None:
    """The second layer gets the changed numbers, not the first one's 8 bits."""
    model, ids = _InPlace(), torch.arange(40)[None]
    linears = QuantizedLinears(model, [list(range(50))])
    with torch.inference_mode():
        expected = model(ids)
        linears.on()
        actual = model(ids)
    assert linears.num_linears == 4
    assert float((actual - expected).abs().max() / expected.abs().max()) < 2e-2


@needs_int8
@pytest.mark.parametrize("standard", [True, False])
def test_nothing_of_a_pass_is_kept(
    standard: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The last layer's queries may be cut to one token: not every layer reads the same then."""
    folder = str(save_model("bert", tmp_path_factory.mktemp("bert")))
    encoder = load_encoder(EncoderSpec(folder, dtype="int8"), device="cpu")
    read: list[weakref.ref[Tensor]] = []
    for module in encoder.model.modules():
        if type(module) is nn.Linear:
            module.register_forward_pre_hook(lambda _, args: read.append(weakref.ref(args[0])))
    encoder.encode(["w1 w2 w3", "w4"], "document", standard=standard)
    gc.collect()
    assert read
    assert [states for states in read if states() is not None] == []
