"""Numbers of 16 bits: the nearest there is, and then kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.precision import pack, rounded, unpack
from mrag_pipeline.errors import BadVectors

HALVES = ["float16", "bfloat16"]
# Ties to even on both sides, the ends of the ranges, subnormals of both types.
NUMBERS = [0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11, -1 / 3, 65_504.0,
           65_520.0, 3.3e38, -1e-3, 6e-8, 1e-40, np.inf, -np.inf, np.nan]  # fmt: skip


@pytest.mark.parametrize("dtype", HALVES)
def test_a_number_becomes_the_nearest_of_its_type(dtype: str) -> None:
    """As PyTorch rounds it."""
    numbers = np.array(NUMBERS, dtype=np.float32)
    expected = torch.tensor(numbers).to(getattr(torch, dtype)).float().numpy()
    np.testing.assert_array_equal(rounded(numbers, dtype), expected)


@pytest.mark.parametrize("dtype", HALVES)
@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_every_float32_is_rounded_as_torch_does(dtype: str, bits: list[int]) -> None:
    """All patterns of bits, NaN and infinity among them."""
    numbers = np.array(bits, dtype=np.uint32).view(np.float32)
    expected = torch.from_numpy(numbers.copy()).to(getattr(torch, dtype)).float().numpy()
    np.testing.assert_array_equal(rounded(numbers, dtype), expected)


@pytest.mark.parametrize("dtype", HALVES)
def test_what_was_rounded_is_packed_and_comes_back(dtype: str) -> None:
    """Bit for bit, in half the bytes, as PyTorch lays them out."""
    vectors = rounded(np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32), dtype)
    bits = pack(vectors, dtype)
    assert bits.nbytes * 2 == vectors.nbytes
    np.testing.assert_array_equal(unpack(bits, dtype), vectors)
    theirs = torch.from_numpy(vectors).to(getattr(torch, dtype)).view(torch.int16).numpy()
    assert bits.tobytes() == theirs.tobytes()
    np.testing.assert_array_equal(rounded(vectors, dtype), vectors)


@pytest.mark.parametrize(("dtype", "number"), [("float16", 70_000.0), ("bfloat16", 1 + 2**-9)])
def test_what_would_be_lost_is_not_packed(dtype: str, number: float) -> None:
    """The message says what to stage it as."""
    with pytest.raises(BadVectors, match="1 of 2 vectors") as caught:
        pack(np.array([[1.0, number], [1.0, 2.0]], dtype=np.float32), dtype)
    assert f"staging.vector_dtype = '{dtype}'" in caught.value.fix


def test_float32_stays_as_it_is() -> None:
    """No bit changes, and there is nothing to pack."""
    numbers = np.array(NUMBERS, dtype=np.float32)
    assert rounded(numbers, "float32") is numbers
    with pytest.raises(ValueError, match="float32"):
        pack(numbers, "float32")
