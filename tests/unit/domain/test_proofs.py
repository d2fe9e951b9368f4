"""What proves a chunk's rows, and what it finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.proofs import proofs_of, read_proofs, row_hash, vector_hashes

CHUNK = Chunk(7, "d1", 0, 0, 4, "text", "title", {"tenant": "a", "n": 1.0}, "print")
HEADS = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
STANDARD = np.arange(1, 13, dtype=np.float32).reshape(2, 6)


def test_a_proof_is_the_same_on_every_machine_for_ever() -> None:
    """Proofs of a version outlive the code that wrote them: this text must never change."""
    [proof, _] = proofs_of([CHUNK, CHUNK], STANDARD, HEADS)
    assert proof == "alFmxhBJqJingvau8/Dm33KdrIZwzHr1D"


@pytest.mark.parametrize(
    "change",
    [
        {"document_id": "d2"},
        {"ordinal": 1},
        {"start": 1},
        {"end": 5},
        {"text": "tex"},
        {"title": "Title"},
        {"metadata": {"tenant": "b", "n": 1.0}},
        {"metadata": {"tenant": "a"}},
        {"fingerprint": "other"},
    ],
)
def test_any_change_of_a_chunk_changes_its_hash(change: dict[str, object]) -> None:
    """A tenant too."""
    assert row_hash(replace(CHUNK, **change)) != row_hash(CHUNK)  # type: ignore[arg-type]


def test_metadata_that_went_through_a_store_has_the_same_hash() -> None:
    """Another order of keys, and 1 in place of 1.0."""
    assert row_hash(replace(CHUNK, metadata={"n": 1, "tenant": "a"})) == row_hash(CHUNK)


@given(st.integers(0, 5), st.integers(0, 31), st.integers(0, 2**32 - 1))
def test_any_flipped_bit_changes_a_vectors_hash(at: int, bit: int, seed: int) -> None:
    """Also the last bit of a number."""
    vector = np.random.default_rng(seed).normal(size=(1, 6)).astype(np.float32)
    flipped = vector.copy()
    flipped.view(np.uint32)[0, at] ^= np.uint32(1 << bit)
    assert vector_hashes(flipped) != vector_hashes(vector)


def test_hashes_of_different_vectors_do_not_meet() -> None:
    """Of 20,000 vectors that differ in a few numbers, as 2^-32 a pair leaves it."""
    vectors = np.zeros((20_000, 8), np.float32)
    vectors[:, 0] = np.arange(20_000)
    vectors[:, 7] = -np.arange(20_000)
    assert len(np.unique(vector_hashes(vectors))) > 19_998


def test_proofs_are_read_as_they_were_written() -> None:
    """Of the row, of the standard vector, of each head's."""
    chunks = [CHUNK, replace(CHUNK, id=8)]
    proofs = read_proofs(proofs_of(chunks, STANDARD, HEADS), 4)
    assert proofs.rows.tolist() == [row_hash(chunk) for chunk in chunks]
    np.testing.assert_array_equal(proofs.vectors[:, 0], vector_hashes(STANDARD))
    np.testing.assert_array_equal(proofs.vectors[:, 1:], vector_hashes(HEADS))
    assert proofs.is_proven.all()


def test_what_is_no_proof_is_told_from_a_missing_one() -> None:
    """Nothing, a later form's, one of other vectors, one cut short, other letters."""
    [proof, _] = proofs_of([CHUNK, CHUNK], STANDARD, HEADS)
    texts = ["", "b" + proof[1:], proof, proof[:-4], "a€" + proof[2:], "\x00" + proof[1:]]
    proofs = read_proofs(texts, 4)
    assert proofs.is_proven.tolist() == [False, False, True, False, False, False]
    assert proofs.is_damaged.tolist() == [False, False, False, True, True, True]
