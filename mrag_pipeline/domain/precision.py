"""Vectors in 16 bits: rounded once, before they are staged; no later step rounds again.

float16 keeps 11 bits of a number and reaches 65,504; bfloat16 keeps 8 bits and reaches as far as
float32. NumPy has no bfloat16: it is the upper half of a float32, rounded to the nearest even.
Shape legend: any shape; the last axis is a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.errors import BadVectors


def rounded(vectors: NDArray[np.floating[Any]], dtype: str) -> NDArray[np.float32]:
    """The nearest numbers that `dtype` has, as float32; infinity where `dtype` overflows."""
    single = np.asarray(vectors, dtype=np.float32)
    if dtype == "float32":
        return single
    return _single(_bits(single, dtype), dtype)


def queries(vectors: NDArray[np.floating[Any]], dtype: str) -> NDArray[np.float32]:
    """Query vectors for a search by cosine among vectors of `dtype`.

    Scaled to unit length, which does not change a cosine, so that float16 does not overflow.
    """
    single = np.asarray(vectors, dtype=np.float32)
    if dtype == "float32":
        return single
    lengths = np.linalg.norm(single, axis=-1, keepdims=True)
    return rounded(single / np.where(lengths > 0, lengths, 1), dtype)


def pack(vectors: NDArray[np.floating[Any]], dtype: str) -> NDArray[np.uint16]:
    """The vectors' bits in float16 or bfloat16, little-endian; nothing is rounded.

    Raises: BadVectors for a number that `dtype` cannot represent.
    """
    single = np.asarray(vectors, dtype=np.float32)
    bits = _bits(single, dtype)
    lost = (_single(bits, dtype) != single).any(axis=-1)
    if lost.any():
        raise BadVectors(
            f"{int(lost.sum())} of {lost.size} vectors have numbers that {dtype} cannot represent",
            f"vectors that were staged as {dtype}",
            f"set staging.vector_dtype = '{dtype}' and run `mrag ingest`: it builds a new version",
        )
    return bits


def unpack(bits: NDArray[np.uint16], dtype: str) -> NDArray[np.float32]:
    """The vectors that `pack` was given."""
    return _single(bits, dtype)


def _bits(single: NDArray[np.float32], dtype: str) -> NDArray[np.uint16]:
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return single.astype("<f2").view("<u2")
    if dtype != "bfloat16":
        raise ValueError(f"{dtype!r} is not a 16-bit type")
    whole = np.ascontiguousarray(single).view(np.uint32)
    # Round to nearest, ties to even: add half of the last bit kept, one less if that bit is 0.
    nearest = (whole + np.uint32(0x7FFF) + (whole >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    cut = whole >> np.uint32(16) | np.uint32(0x40)  # a NaN stays a NaN, whatever its lower half
    return np.where(np.isnan(single), cut, nearest).astype("<u2")


def _single(bits: NDArray[np.uint16], dtype: str) -> NDArray[np.float32]:
    if dtype == "float16":
        return bits.view("<f2").astype(np.float32)
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
