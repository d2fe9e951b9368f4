from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AttentionInterface

from mrag_pipeline.encoder import families, forward_paths, packed_attention, transformer
from mrag_pipeline.encoder.forward_paths import PackedPath
from mrag_pipeline.encoder.tokenizer import TextTokenizer
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.tiny_models import save_model

TEXTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9", "w1 w2 w3", *(f"w{n} w{n + 1}" for n in range(30))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model("bert", tmp_path_factory.mktemp("bert")))


def test_a_packed_attention_that_differs_is_not_used(
    folder: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Packing is used only if it gives the same vectors; otherwise the log says why not."""

    def doubled(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        return packed_attention.packed_attention(*args, **kwargs)[0] * 2, None

    monkeypatch.setattr(
        packed_attention,
        "register",
        lambda: AttentionInterface.register(packed_attention.NAME, doubled),
    )
    with caplog.at_level(logging.INFO):
        encoder = load_encoder(EncoderSpec(folder))
    monkeypatch.undo()
    packed_attention.register()
    assert encoder.path == "padded"
    assert any("encoder_padded" in m and "differ" in m for m in caplog.messages)
    expected = load_encoder(EncoderSpec(folder), packed=False).encode(TEXTS, "document")
    np.testing.assert_array_equal(encoder.encode(TEXTS, "document").heads, expected.heads)


def test_a_last_layer_that_differs_when_shortened_runs_in_full(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shortened layer is used only if it equals the full one."""
    expected = load_encoder(EncoderSpec(folder)).encode(TEXTS, "document")
    wrong = replace(
        families.FAMILIES["bert"], finish_layer=lambda layer, entered, attended: entered
    )
    monkeypatch.setitem(families.FAMILIES, "bert", wrong)
    embeddings = load_encoder(EncoderSpec(folder)).encode(TEXTS, "document")
    np.testing.assert_allclose(embeddings.standard, expected.standard, atol=1e-6)


def test_the_last_layer_computes_only_what_is_read(folder: str) -> None:
    """Its MLP sees one token per text, or nothing if no standard embedding is wanted."""
    encoder = load_encoder(EncoderSpec(folder))
    seen: list[int] = []
    last: Any = encoder.model.get_submodule("encoder.layer.2.intermediate")
    last.register_forward_pre_hook(lambda _, args: seen.append(args[0].numel() // 32))
    encoder.encode(TEXTS, "document")
    assert seen == [len(TEXTS)]
    encoder.encode(TEXTS, "document", standard=False)
    assert seen == [len(TEXTS)]


@pytest.mark.parametrize(
    ("family", "query"), [("bert", "attention.self.query"), ("qwen3", "self_attn.q_proj")]
)
def test_queries_are_computed_only_for_what_is_read(
    family: str, query: str, tmp_path: Path
) -> None:
    """The last layer's query projection sees one token per text, the layer before it all tokens."""
    encoder = load_encoder(EncoderSpec(str(save_model(family, tmp_path))))
    stack = encoder.capture.names[0].split(".2.")[0]
    seen: dict[int, int] = {}
    for layer in (1, 2):
        projection: Any = encoder.model.get_submodule(f"{stack}.{layer}.{query}")
        original = projection.forward

        def forward(states: Any, layer: int = layer, original: Any = original) -> Any:
            seen[layer] = states.shape[-2]
            return original(states)

        vars(projection)["forward"] = forward
    embeddings = encoder.encode(TEXTS, "document", standard=False)
    assert seen == {1: embeddings.num_tokens.sum(), 2: len(TEXTS)}
    plain = load_encoder(EncoderSpec(str(tmp_path)), packed=False).encode(TEXTS, "document")
    np.testing.assert_allclose(embeddings.heads, plain.heads, atol=1e-5)


def test_a_long_row_is_padded_to_a_whole_step(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows have few different lengths; the padding yields no vectors."""
    monkeypatch.setattr(forward_paths, "CPU_ROW_STEP", 1)
    expected = load_encoder(EncoderSpec(folder)).encode(TEXTS * 3, "document")
    monkeypatch.undo()
    encoder = load_encoder(EncoderSpec(folder))
    seen: list[int] = []
    first: Any = encoder.model.get_submodule("encoder.layer.0")
    first.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    embeddings = encoder.encode(TEXTS * 3, "document")
    assert embeddings.num_tokens.sum() % 32
    assert seen == [-(-embeddings.num_tokens.sum() // 32) * 32]
    np.testing.assert_allclose(embeddings.heads, expected.heads, atol=1e-6)
    np.testing.assert_allclose(embeddings.standard, expected.standard, atol=1e-6)


def test_out_of_memory_halves_the_budget_and_goes_on(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every text still gets its vectors, in the right position."""
    expected = load_encoder(EncoderSpec(folder)).encode(TEXTS, "document")
    encoder = load_encoder(EncoderSpec(folder))
    run, sizes = PackedPath.run, []

    def small(self: PackedPath, rows: Any, want_standard: bool) -> Any:
        sizes.append(sum(map(len, rows)))
        if sizes[-1] > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, rows, want_standard)

    monkeypatch.setattr(PackedPath, "run", small)
    embeddings = encoder.encode(TEXTS, "document")
    np.testing.assert_allclose(embeddings.heads, expected.heads, atol=1e-6)
    assert encoder.batch_tokens <= 40
    sizes.clear()
    encoder.encode(TEXTS, "document")
    assert max(sizes) <= 40


def test_a_text_too_large_by_itself_is_an_error(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing left to halve."""
    encoder = load_encoder(EncoderSpec(folder))

    def never(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PackedPath, "run", never)
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(TEXTS, "document")


def test_tokenizing_in_windows_changes_nothing(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text gets its own vectors, in order."""
    expected = load_encoder(EncoderSpec(folder)).encode(TEXTS, "document")
    monkeypatch.setattr(transformer, "WINDOW_TEXTS", 4)
    embeddings = load_encoder(EncoderSpec(folder)).encode(TEXTS, "document")
    np.testing.assert_allclose(embeddings.heads, expected.heads, atol=1e-6)
    np.testing.assert_array_equal(embeddings.num_tokens, expected.num_tokens)


def test_the_next_texts_are_tokenized_while_a_pass_runs(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pass here waits until tokenizing of the second window has begun."""
    monkeypatch.setattr(transformer, "WINDOW_TEXTS", len(TEXTS) // 2)
    encoder = load_encoder(EncoderSpec(folder))
    run, ids = PackedPath.run, TextTokenizer.ids
    begun, windows = threading.Event(), []

    def tokenize(self: TextTokenizer, texts: Any, max_tokens: int) -> Any:
        windows.append(threading.current_thread() is threading.main_thread())
        if len(windows) == 2:
            begun.set()
        return ids(self, texts, max_tokens)

    def wait(self: PackedPath, rows: Any, want_standard: bool) -> Any:
        assert begun.wait(timeout=60)
        return run(self, rows, want_standard)

    monkeypatch.setattr(TextTokenizer, "ids", tokenize)
    monkeypatch.setattr(PackedPath, "run", wait)
    encoder.encode(TEXTS, "document")
    assert windows == [False] * len(windows)


def test_an_architecture_outside_the_interface_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """MPNet is padded and exact; loading logs one line, batches log none."""
    folder = str(save_model("mpnet", tmp_path))
    with caplog.at_level(logging.INFO):
        encoder = load_encoder(EncoderSpec(folder))
        for _ in range(3):
            encoder.encode(TEXTS, "document")
    assert encoder.path == "padded"
    assert [m for m in caplog.messages if "encoder_padded family=mpnet" in m] == [
        "encoder_padded family=mpnet "
        "reason=MPNetModel does not use transformers' attention interface"
    ]


def test_packing_one_model_leaves_others_alone(folder: str, tmp_path: Path) -> None:
    """Two encoders run in one process, one packed and one not."""
    packed = load_encoder(EncoderSpec(folder))
    padded = load_encoder(EncoderSpec(str(save_model("mpnet", tmp_path))))
    first = packed.encode(TEXTS, "document")
    padded.encode(TEXTS, "document")
    np.testing.assert_array_equal(packed.encode(TEXTS, "document").heads, first.heads)
