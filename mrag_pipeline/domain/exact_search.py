"""Exact nearest neighbours: what every index is measured against.

Ties are broken by the smaller id, so the same vectors give the same ranking everywhere.
Shape legend: N chunks, W queries, D dimension, k hits per query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_DECIMALS = 7
_BLOCK_NUMBERS = 2**21  # of rows compared at a time, 16 MB in float64; no more than
_BLOCK_ROWS = 65_536  # rows: bounds memory at W x 0.5 MB


class Hits(NamedTuple):
    """The best of each query; fewer than k are padded with id -1 and score -inf."""

    ids: NDArray[np.int64]  # (W, k)
    scores: NDArray[np.float32]  # (W, k), cosine similarity, falling


def top_k(
    ids: NDArray[np.int64],
    vectors: NDArray[np.floating],
    queries: NDArray[np.floating],
    k: int,
) -> Hits:
    """The k rows with the highest cosine similarity to each query.

    Args:
        ids: (N,), each once.
        vectors: (N, D); a zero vector is similar to nothing (score 0).
        queries: (W, D).
        k: at least 1.
    """
    unit = _unit(queries)
    best = Hits(
        np.full((len(queries), 0), -1, dtype=np.int64), np.zeros((len(queries), 0), np.float32)
    )
    step = max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // vectors.shape[1]))
    for start in range(0, max(len(ids), 1), step):
        stop = start + step
        # To float32's own precision at 1: below it only the order of additions speaks, and what
        # is at right angles to a query must tie whatever its numbers.
        scores = np.round(unit @ _unit(vectors[start:stop]).T, _DECIMALS).astype(np.float32)
        block = Hits(np.broadcast_to(ids[start:stop], scores.shape), scores)
        best = merge([best, block], k)
    return best


def merge(parts: Sequence[Hits], k: int) -> Hits:
    """The k best of several parts' hits for the same queries, as if they were one set."""
    ids = np.concatenate([part.ids for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    merged = Hits(
        np.full((len(ids), k), -1, dtype=np.int64), np.full((len(ids), k), -np.inf, np.float32)
    )
    for row in range(len(ids)):
        chosen = _best(ids[row], scores[row], k)
        merged.ids[row, : len(chosen)] = ids[row, chosen]
        merged.scores[row, : len(chosen)] = scores[row, chosen]
    return merged


def _best(ids: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    candidates = np.arange(len(ids))
    if len(ids) > k:
        # All that reach the k-th score stay in: which of the tied ones wins is for their ids.
        threshold = np.partition(scores, len(ids) - k)[len(ids) - k]
        candidates = np.flatnonzero(scores >= threshold)
    candidates = candidates[ids[candidates] >= 0]
    order = np.lexsort((ids[candidates], -scores[candidates]))
    chosen: NDArray[np.intp] = candidates[order[:k]]
    return chosen


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    # float64, so that equal vectors tie after rounding whatever their place in the matrix.
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float64] = wide / np.where(norms == 0.0, 1.0, norms)
    return unit
