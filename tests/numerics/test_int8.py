"""An int8 encoder beside float32's, with the packaged MiniLM."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from numpy.typing import NDArray

from mrag_pipeline.domain.heads import Embeddings
from mrag_pipeline.encoder.model_check import check_model
from mrag_pipeline.encoder.quantized_linears import has_int8_operators, multiplies_int8
from mrag_pipeline.encoder.transformer import TransformerEncoder, load_encoder
from mrag_pipeline.settings.encoder import PACKAGED_MODEL, EncoderSpec

pytestmark = pytest.mark.skipif(
    not (multiplies_int8() and has_int8_operators()),
    reason="this CPU or torch has no int8 products",
)
_HANDBOOK = files("mrag_pipeline.examples") / "handbook" / "handbook.jsonl"
SENTENCES = [
    sentence
    for line in _HANDBOOK.read_text("utf-8").splitlines()
    for sentence in json.loads(line)["text"].split(". ")
]
SPEC = EncoderSpec(PACKAGED_MODEL, dtype="int8")


@pytest.fixture(scope="module")
def encoder() -> TransformerEncoder:
    return load_encoder(SPEC, device="cpu")


@pytest.fixture(scope="module")
def ours(encoder: TransformerEncoder) -> Embeddings:
    return encoder.encode(SENTENCES, "document")


def recall(ours: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """The share of each text's 10 nearest neighbours that are the same."""
    nearest = []
    for vectors in (ours, exact):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        near = unit @ unit.T
        np.fill_diagonal(near, -2.0)
        nearest.append(np.argsort(-near, axis=1)[:, :10])
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*nearest, strict=True)]))


def test_neighbours_are_those_of_float32(ours: Embeddings) -> None:
    """Recall@10 of at least 0.9 over all heads; and vectors that are not float32's."""
    exact = load_encoder(replace(SPEC, dtype="float32"), device="cpu").encode(SENTENCES, "document")
    heads = [recall(ours.heads[:, h], exact.heads[:, h]) for h in range(ours.heads.shape[1])]
    assert np.mean(heads) >= 0.9
    assert recall(ours.standard, exact.standard) >= 0.9
    assert np.abs(ours.heads - exact.heads).max() > 1e-3 * np.abs(exact.heads).max()


def test_a_text_has_the_same_bytes_in_any_batch(
    encoder: TransformerEncoder, ours: Embeddings
) -> None:
    """Alone, with few others, with all others."""
    few = encoder.encode(SENTENCES[3:40], "document")
    assert np.array_equal(few.heads, ours.heads[3:40])
    assert np.array_equal(few.standard, ours.standard[3:40])
    for index in (0, 5, len(SENTENCES) - 1):
        alone = encoder.encode(SENTENCES[index : index + 1], "document")
        assert np.array_equal(alone.heads[0], ours.heads[index])
        assert np.array_equal(alone.standard[0], ours.standard[index])


def test_a_second_process_would_get_the_same_bytes(ours: Embeddings) -> None:
    """Another load measures the same ranges."""
    again = load_encoder(SPEC, device="cpu").encode(SENTENCES[:40], "document")
    assert np.array_equal(again.heads, ours.heads[:40])


def test_heads_alone_are_those_beside_the_standard_vector(
    encoder: TransformerEncoder, ours: Embeddings
) -> None:
    """The pass that ends at the last head reads the same heads."""
    alone = encoder.encode(SENTENCES, "document", standard=False)
    np.testing.assert_allclose(alone.heads, ours.heads, atol=1e-5)


def test_a_check_of_the_model_holds() -> None:
    """`mrag model` takes int8's rounding for rounding."""
    report = check_model(SPEC, device="cpu")
    assert report.holds, report.proofs
