"""Head importance from sums, against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.errors import BadVectors, TooFewChunks


def brute_force(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """The paper's definition, pair by pair: (N, H, D) to (H,)."""
    scores = []
    for head in range(vectors.shape[1]):
        head_vectors = vectors[:, head].astype(np.float64)
        norms = [float(np.sqrt(np.dot(x, x))) for x in head_vectors]
        distances = [
            1.0 - float(np.dot(x, y)) / (nx * ny)
            for x, nx in zip(head_vectors, norms, strict=True)
            for y, ny in zip(head_vectors, norms, strict=True)
        ]
        scores.append(np.mean(norms) * np.mean(distances))
    return np.array(scores)


def random_vectors(seed: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    shifted = generator.normal(size=shape) + generator.normal(size=(1, *shape[1:])) * 3
    return shifted.astype(np.float32)


@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 4), st.integers(1, 8))
def test_sums_give_what_every_pair_gives(seed: int, n: int, h: int, d: int) -> None:
    """One pass equals the definition over all n^2 pairs to 1e-10."""
    vectors = random_vectors(seed, (n, h, d))
    importance = ImportanceSums.of(vectors).importance()
    expected = brute_force(vectors)
    if d == 1 and expected.max() < 1e-9:  # all on one side: nothing spreads
        expected = np.ones(h)
    np.testing.assert_allclose(importance, expected, rtol=1e-10, atol=1e-10)


def test_two_opposite_vectors() -> None:
    """Norms 3 and 1: mean 2; distances 0, 2, 2, 0: mean 1; importance 2."""
    sums = ImportanceSums.of(np.array([[[3.0, 0.0]], [[-1.0, 0.0]]]))
    assert sums.mean_norm().tolist() == [2.0]
    assert sums.mean_distance().tolist() == [1.0]
    assert sums.importance().tolist() == [2.0]


def test_a_head_whose_vectors_are_parallel_has_no_importance() -> None:
    """Importance is 0, and rounding never makes it negative."""
    parallel = np.repeat(np.array([[[0.1, 0.2, 0.3]]]), 7, axis=0)
    vectors = np.concatenate([parallel, random_vectors(1, (7, 1, 3))], axis=1)
    assert ImportanceSums.of(vectors).importance()[0] == pytest.approx(0.0, abs=1e-12)
    assert (ImportanceSums.of(vectors).importance() >= 0).all()


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20))
def test_shards_add_up(seed: int, first: int, second: int) -> None:
    """The sums of two parts are the sums of the whole, and subtracting gives the part back."""
    vectors = random_vectors(seed, (first + second, 3, 4))
    whole = ImportanceSums.of(vectors)
    left, right = ImportanceSums.of(vectors[:first]), ImportanceSums.of(vectors[first:])
    for computed, expected in ((left + right, whole), (whole - right, left)):
        assert computed.num_chunks == expected.num_chunks
        np.testing.assert_allclose(computed.norm_sum, expected.norm_sum, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(computed.unit_sum, expected.unit_sum, rtol=1e-10, atol=1e-10)


def test_the_sums_of_no_vectors_are_neutral() -> None:
    """They are zero, and adding them changes nothing."""
    vectors = random_vectors(1, (5, 2, 3))
    sums = ImportanceSums.of(vectors)
    empty = ImportanceSums.of(vectors[:0])
    for other in (empty, ImportanceSums.zero(2, 3)):
        assert other.num_chunks == 0
        np.testing.assert_array_equal((sums + other).unit_sum, sums.unit_sum)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_a_bad_vector_is_refused(bad: float) -> None:
    """NaN, infinity and zero have no direction; one among many is enough."""
    vectors = random_vectors(2, (4, 2, 3))
    vectors[2, 1] = bad
    with pytest.raises(BadVectors, match="1 of 8 head vectors"):
        ImportanceSums.of(vectors)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_at_the_limits_of_float32_are_accepted(scale: float) -> None:
    """Squares overflow and underflow in float32; the sums are kept in float64."""
    vectors = (random_vectors(3, (6, 2, 3)) * np.float32(scale)).astype(np.float32)
    importance = ImportanceSums.of(vectors).importance()
    np.testing.assert_allclose(importance, brute_force(vectors), rtol=1e-10)


def test_no_chunk_has_no_importance() -> None:
    """The error says how many chunks there are."""
    with pytest.raises(TooFewChunks, match="0 chunks in"):
        ImportanceSums.zero(2, 3).importance()


@pytest.mark.parametrize("n", [1, 2])
def test_chunks_without_spread_give_every_head_the_same_vote(n: int) -> None:
    """One chunk, or chunks of equal vectors: a vote of 0 would hide what they hold."""
    vectors = np.tile(np.eye(3, dtype=np.float32)[None, :2], (n, 1, 1))
    np.testing.assert_array_equal(ImportanceSums.of(vectors).importance(), [1.0, 1.0])


@pytest.mark.parametrize("num_chunks", [63, 64, 65, 500])
def test_many_chunks_are_summed_as_few_are(num_chunks: int) -> None:
    """Sums are computed in blocks; a chunk at a block's edge counts once."""
    vectors = random_vectors(1, (num_chunks, 3, 5))
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=2)
    sums = ImportanceSums.of(vectors)
    assert sums.num_chunks == num_chunks
    np.testing.assert_allclose(sums.norm_sum, norms.sum(axis=0), rtol=1e-12)
    unit = (wide / norms[:, :, None]).sum(axis=0)
    np.testing.assert_allclose(sums.unit_sum, unit, rtol=1e-12, atol=1e-12)


def test_bad_vectors_are_counted_wherever_they_are() -> None:
    """One early, two late: the message counts all three."""
    vectors = random_vectors(2, (500, 2, 4))
    vectors[3, 0] = np.nan
    vectors[490, 0] = 0.0
    vectors[499, 1] = np.inf
    with pytest.raises(BadVectors, match="3 of 1000 head vectors"):
        ImportanceSums.of(vectors)
