"""A part of the chunks drawn at random, and what it says of all. Shape legend: n drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sampled_places(number: int, size: int, seed: int) -> NDArray[np.int64]:
    """(n,) of the places 0 to `number` - 1, drawn at random, rising: `size` of them, or all."""
    if size >= number:
        return np.arange(number)
    return np.sort(np.random.default_rng(seed).choice(number, size, replace=False))


def damaged_share_below(num_sampled: int, num_chunks: int, confidence: float) -> float:
    """The share of damaged chunks that a sample without one leaves possible, at a confidence.

    With a larger share, so many draws would have found one with that probability. Drawing without
    putting back, as is done, finds more; so the bound is on the safe side.
    """
    if num_sampled >= num_chunks:
        return 0.0
    if num_sampled <= 0:
        return 1.0
    return float(1.0 - (1.0 - confidence) ** (1.0 / num_sampled))
