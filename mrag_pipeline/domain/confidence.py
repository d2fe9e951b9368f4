"""What a random sample shows of a mean, at a stated confidence.

For values in [0, 1], such as a recall, with mean x over the sample, the mean of all is above m with
that confidence, where m < x solves n * KL(x, m) = ln(1 / (1 - confidence)).
Source: Hoeffding, Probability inequalities for sums of bounded random variables (1963), theorem 1,
(2.1). It holds for every distribution, and for samples drawn without putting back. If every value
is 1, it is Clopper and Pearson's bound: m = (1 - confidence) ** (1 / n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_STEPS = 60  # of a bisection: below the precision of a float


def mean_above(values: Sequence[float], confidence: float) -> float:
    """A bound: the mean of all values is above it, at that confidence; 0.0 without a sample.

    Args:
        values: each in [0, 1], drawn at random, each as likely as any other.
        confidence: below 1.
    """
    if not values:
        return 0.0
    mean = sum(values) / len(values)
    allowed = math.log(1.0 / (1.0 - confidence)) / len(values)
    low, high = 0.0, mean
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _divergence(mean, middle) > allowed:
            low = middle
        else:
            high = middle
    return low


def sure_of(bound: float, confidence: float, searched: float = 1.0) -> str:
    """`99% sure of at least 0.985`, for people.

    Args:
        searched: share of the shards in which nearer chunks were looked for.
    """
    among = "" if searched >= 1.0 else f" among {searched:.2%} of the shards"
    return f"{confidence:.0%} sure of at least {bound:.3f}{among}"


def shown_by_sample(bound: float, confidence: float, size: int, searched: float = 1.0) -> str:
    """What a sample of so many chunks shows of all, for people; `searched` as of `sure_of`."""
    if not size:
        return "no chunk was looked at"
    return f"{sure_of(bound, confidence, searched)}, by {size:,} chunks drawn at random"


def size_to_show(bound: float, confidence: float) -> int:
    """How many values of 1 show that the mean is above `bound`; at least 1.

    Args:
        bound: below 1.
    """
    if bound <= 0.0:
        return 1
    return math.ceil(round(math.log(1.0 - confidence) / math.log(bound), 9))


def _divergence(mean: float, other: float) -> float:
    """KL(mean, other) of two coins; other <= mean."""
    divergence = 0.0
    for share, its in ((mean, other), (1.0 - mean, 1.0 - other)):
        if share > 0.0:
            divergence += math.inf if its <= 0.0 else share * math.log(share / its)
    return divergence
