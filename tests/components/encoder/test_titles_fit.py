"""Title, prefix and special tokens count against what a real model reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mrag_pipeline.domain.chunking import chunks_of, embedded_text, fitted_text
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.encoder.segmenter import open_segmenter
from mrag_pipeline.encoder.transformer import TransformerEncoder, load_encoder
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec

TITLE = "A rather long descriptive title about the history of river stone apple engine market"
BODY = "harbour river stone apple " * 63


@pytest.fixture(scope="module")
def encoder(minilm: EncoderSpec) -> TransformerEncoder:
    return load_encoder(replace(minilm, document_prefix="passage: "), device="cpu")


def test_prefix_and_special_tokens_take_room(encoder: TransformerEncoder) -> None:
    """Of 256 tokens, two are special and two are the prefix."""
    assert open_segmenter(encoder, ChunkingSpec()).room() == 252


def test_a_fitted_title_leaves_the_whole_text(encoder: TransformerEncoder) -> None:
    """Two documents that differ at their end: equal vectors with the title, others if it fits."""
    chunking = ChunkingSpec(max_tokens=252)
    segmenter = open_segmenter(encoder, chunking)
    chunks = [
        chunk
        for text in (BODY[:-1], f"{BODY[:-6]} engine")
        for chunk in chunks_of(Document(text, text, TITLE), segmenter.passages(text), chunking)
    ]
    assert len(chunks) == 2

    def fits(text: str) -> bool:
        return segmenter.count_tokens([text])[0] <= segmenter.room()

    cut = [embedded_text(chunk, chunking) for chunk in chunks]
    assert not any(map(fits, cut))
    fitted = [fitted_text(chunk, chunking, fits) for chunk in chunks]
    assert all(map(fits, fitted))
    first, second = encoder.encode(cut, "document").standard
    np.testing.assert_allclose(first, second, atol=1e-5)
    first, second = encoder.encode(fitted, "document").standard
    assert not np.allclose(first, second, atol=1e-3)
