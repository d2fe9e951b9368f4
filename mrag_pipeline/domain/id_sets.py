"""Whether two sets of ids are equal, from 24 bytes each, whatever the order they come in.

Shape legend: N ids.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SEEDS = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True)
class IdSum:
    """A sum over ids: equal for equal ids in any order; for others, in one of 2^128 cases."""

    num_ids: int = 0
    sums: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, ids: NDArray[np.int64]) -> IdSum:
        """The sum over these ids (N,); one that is there twice counts twice."""
        keys = ids.astype(np.uint64)
        first, second = (int(mixed(keys + seed).sum(dtype=np.uint64)) for seed in _SEEDS)
        return cls(len(ids), (first, second))

    def __add__(self, other: IdSum) -> IdSum:
        first, second = (
            (own + others) % 2**64 for own, others in zip(self.sums, other.sums, strict=True)
        )
        return IdSum(self.num_ids + other.num_ids, (first, second))


def text_key(text: str) -> int:
    """A hash of an id that is a text: 64 bits."""
    encoded = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big")


def mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes (N,): every bit depends on every bit.

    Source: the finalizer of splitmix64, Steele et al., OOPSLA 2014.
    """
    keys = (keys ^ (keys >> np.uint64(30))) * _FIRST
    keys = (keys ^ (keys >> np.uint64(27))) * _SECOND
    hashes: NDArray[np.uint64] = keys ^ (keys >> np.uint64(31))
    return hashes
