"""Recall of nearest neighbours, for the benchmarks of encoders."""

from __future__ import annotations

import statistics

import numpy as np


def recall(ours: np.ndarray, exact: np.ndarray, count: int = 10) -> float:
    """Recall@count: the mean share of each text's nearest neighbours, per head, that agree.

    Args:
        ours, exact: (N, H, D), not all zero.
    """
    shares = []
    for head in range(exact.shape[1]):
        neighbours = [_nearest(vectors[:, head], count) for vectors in (ours, exact)]
        shares += [len(set(a) & set(b)) / count for a, b in zip(*neighbours, strict=True)]
    return statistics.mean(shares)


def _nearest(vectors: np.ndarray, count: int) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -2)
    nearest: np.ndarray = np.argsort(-near, axis=1)[:, :count]
    return nearest
