"""A seeded sample of a version's chunks, the same in whatever order the store lists them.

Memory: the sample and one block of ids.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.id_sets import mixed

_STEP = 0x9E3779B97F4A7C15


def sampled_ids(blocks: Iterable[NDArray[np.int64]], size: int, seed: int) -> NDArray[np.int64]:
    """The ids with the smallest hashes under the seed: at most `size`, rising, each once.

    A chunk's hash depends on nothing but its id and the seed, so two versions that share chunks
    give samples that share chunks.

    Args:
        blocks: every id once, or more often; in any order.
    """
    kept = np.zeros(0, np.int64)
    for block in blocks:
        candidates = np.unique(np.concatenate([kept, block]))
        order = np.argsort(_hashes(candidates, seed), kind="stable")
        kept = candidates[order[:size]]
    return np.sort(kept)


def _hashes(ids: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    return mixed(ids.astype(np.uint64) + np.uint64((seed + 1) * _STEP % 2**64))  # wraps
