"""Whether an index version has something on an aspect: found, weak, or nothing here.

A cosine means little by itself: it depends on the encoder and on the corpus. So a version is asked
questions that no corpus answers (`domain/unrelated.py`), and each one's nearest passage is noted:
that is how near something comes by chance. Reasons and figures: docs/decisions/0073.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

AspectVerdict = Literal["found", "weak", "nothing here"]

BY_CHANCE = "by_chance"  # the key of a record's config that holds what chance found
NUM_CHUNKS = "chunks"  # its key that holds how many chunks the version had then
_CHANCE_SHARE = 0.98  # of the unrelated questions that come less near than `weak`
_OUTGROWN = 1.5  # the nearest of N passages comes nearer with the logarithm of N only
_FOUND_STEP = 1.5  # how far `found` lies above the median, in steps from there to `weak`


@dataclass(frozen=True, slots=True)
class Levels:
    """The nearness from which a version has something weak, or has found something."""

    weak: float  # below: no nearer than 98 of 100 unrelated questions come by chance
    found: float  # half as far again from what such a question finds on the median

    def verdict(self, nearness: float) -> AspectVerdict:
        """What a nearness says about an aspect."""
        if nearness < self.weak:
            return "nothing here"
        return "found" if nearness >= self.found else "weak"


def levels_of(by_chance: Sequence[float]) -> Levels:
    """The levels of a version.

    Args:
        by_chance: for each unrelated question the cosine of the passage nearest to it.
    """
    median, weak = np.quantile(np.asarray(by_chance, np.float64), [0.5, _CHANCE_SHARE]).tolist()
    return Levels(weak, median + _FOUND_STEP * (weak - median))


def levels_in(config: Mapping[str, Any]) -> Levels | None:
    """The levels of a version by its record's config; None if chance was not measured."""
    stored = config.get(BY_CHANCE)
    cosines = stored.get("cosines") if isinstance(stored, Mapping) else None
    if not isinstance(cosines, list) or not cosines:
        return None
    return levels_of([float(cosine) for cosine in cosines if math.isfinite(cosine)])


def is_outgrown(config: Mapping[str, Any], num_chunks: int) -> bool:
    """Whether a version's levels were measured when it had far fewer or more chunks, or never.

    Args:
        config: of its record; num_chunks: that it has now.
    """
    stored = config.get(BY_CHANCE)
    measured = stored.get(NUM_CHUNKS) if isinstance(stored, Mapping) else None
    if levels_in(config) is None or not isinstance(measured, int) or measured < 1:
        return True
    return not measured / _OUTGROWN <= num_chunks <= measured * _OUTGROWN
