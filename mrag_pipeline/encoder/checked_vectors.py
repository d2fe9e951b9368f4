"""Refuses vectors that no index can search.

Shape legend: N texts, H heads, D head dimension, E standard width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.errors import BadVectors


def checked_heads(heads: NDArray[np.float32]) -> NDArray[np.float32]:
    """The head vectors (N, H, D).

    Raises: BadVectors if one is zero, NaN or infinite.
    """
    norms = np.linalg.norm(heads, axis=2)
    is_bad = ~np.isfinite(norms) | (norms == 0.0)
    if is_bad.any():
        raise _bad_vectors(int(is_bad.any(axis=1).sum()), len(heads), "head")
    return heads


def unit_vectors(standard: NDArray[np.float32]) -> NDArray[np.float32]:
    """The standard vectors (N, E) at unit length.

    Raises: BadVectors if one is zero, NaN or infinite.
    """
    norms = np.linalg.norm(standard, axis=1, keepdims=True)
    is_bad = ~np.isfinite(norms) | (norms == 0.0)
    if is_bad.any():
        raise _bad_vectors(int(is_bad.sum()), len(standard), "standard")
    unit: NDArray[np.float32] = standard / norms
    return unit


def _bad_vectors(count: int, total: int, kind: str) -> BadVectors:
    return BadVectors(
        f"{count} of {total} texts have a {kind} vector that is zero, NaN or infinite",
        "finite vectors that are not zero",
        "check the weights and encoder.dtype (float16 can overflow: try bfloat16 or float32)",
    )
