"""The encoder on numpy gives what transformers gives, or says that it cannot."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.heads import Role
from mrag_pipeline.encoder import light_encoder
from mrag_pipeline.encoder.bert_arrays import gelu
from mrag_pipeline.encoder.light_encoder import is_light, load_light_encoder
from mrag_pipeline.encoder.model_folder import TOKENIZER_FILES
from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.tiny_models import save_model

TEXTS = ["A river.", "", "日本語 and Crème brûlée", "the violin " * 40, "Who paints the violin?"]
VOCABULARY = 30_522


@pytest.fixture
def bert(minilm: EncoderSpec, tmp_path: Path) -> Path:
    """A random BERT of three layers with MiniLM's tokenizer."""
    return _saved(minilm, tmp_path / "bert")


def _saved(minilm: EncoderSpec, folder: Path, **changes: Any) -> Path:
    save_model("bert", folder, vocab_size=VOCABULARY, num_hidden_layers=3, **changes)
    packaged = find_model(minilm).transformer
    for name in TOKENIZER_FILES:
        (folder / name).unlink(missing_ok=True)
        if (packaged / name).is_file():
            shutil.copy(packaged / name, folder)
    return folder


def _edited(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")


def assert_same(spec: EncoderSpec) -> None:
    """The cards are equal, and all vectors to the rounding of float32."""
    ours, theirs = load_light_encoder(spec), load_encoder(spec, device="cpu")
    assert ours.card == theirs.card
    cases: list[tuple[list[str], Role]] = [(TEXTS, "document"), (TEXTS[:1], "query"), ([], "query")]
    for texts, role in cases:
        mine, wanted = ours.encode(texts, role), theirs.encode(texts, role)
        np.testing.assert_allclose(mine.standard, wanted.standard, atol=2e-6)
        largest = np.abs(wanted.heads).max(initial=1.0)
        np.testing.assert_allclose(mine.heads, wanted.heads, atol=1e-5 * largest)
        assert mine.num_tokens.tolist() == wanted.num_tokens.tolist()
    alone = ours.encode(TEXTS, "document", standard=False)
    assert alone.standard.shape == (len(TEXTS), 0)
    np.testing.assert_array_equal(alone.heads, ours.encode(TEXTS, "document").heads)


def test_it_equals_transformers_on_a_real_model(minilm: EncoderSpec) -> None:
    """With a prefix, which both put before the text."""
    assert is_light(minilm)
    assert_same(replace(minilm, query_prefix="query: "))


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_it_equals_transformers_by_every_pooling(bert: Path, pooling: Any) -> None:
    """Of several layers, the first of them not the model's last."""
    spec = EncoderSpec(str(bert), layers=(-1, 0), pooling=pooling, standard_pooling=pooling)
    assert is_light(spec)
    assert_same(spec)


def test_a_batch_gives_what_its_texts_give_alone(bert: Path) -> None:
    """However many batches and threads there are."""
    encoder = load_light_encoder(EncoderSpec(str(bert)))
    together = encoder.encode(TEXTS * 9, "document").heads
    for place, text in enumerate(TEXTS):
        alone = encoder.encode([text], "document").heads[0]
        np.testing.assert_allclose(together[place::5], np.stack([alone] * 9), atol=1e-5)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"hidden_act": "relu"}),
        ("config.json", {"model_type": "electra"}),
        ("config.json", {"position_embedding_type": "relative_key"}),
        ("config.json", {"num_hidden_layers": 4}),
        ("config.json", {"hidden_size": "32"}),
        ("tokenizer_config.json", {"do_lower_case": False}),
        ("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"}),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}),
        ("tokenizer.json", {"post_processor": None}),
    ],
)
def test_another_model_is_left_to_transformers(
    bert: Path, file: str, changes: dict[str, object]
) -> None:
    """Each of these changes what the vectors would be."""
    spec = EncoderSpec(str(bert))
    assert is_light(spec)
    _edited(bert / file, **changes)
    assert not is_light(spec)


def test_another_type_layer_or_device_is_left_to_transformers(
    bert: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also `auto` on a machine that has a GPU."""
    spec = EncoderSpec(str(bert))
    assert not is_light(replace(spec, dtype="bfloat16"))
    assert not is_light(replace(spec, layers=(3,)))
    assert not is_light(spec, "cuda")
    (tmp_path / "gpu").touch()
    monkeypatch.setattr(light_encoder, "_GPUS", (str(tmp_path / "gpu"),))
    assert not is_light(spec, "auto")
    assert is_light(spec, "cpu")


def test_gelu_is_the_normal_distributions() -> None:
    """Against the standard library's error function."""
    states = np.linspace(-9, 9, 20_001, dtype=np.float32)
    wanted = [x * 0.5 * math.erfc(-x / math.sqrt(2)) for x in states.tolist()]
    np.testing.assert_allclose(gelu(states), wanted, atol=5e-7)


def test_it_imports_neither_torch_nor_transformers() -> None:
    """That is what it is for."""
    code = (
        "import sys, mrag_pipeline.encoder.light_encoder; "
        "print({'torch', 'transformers', 'scipy'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"
