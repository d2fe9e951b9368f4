"""How rankings become hits: the numbers that `voting.py` decides by. Needs no numpy.

Commands read them with their config, before there is anything to vote on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

STANDARD, LEXICAL = "standard", "lexical"  # the names of the voters that are no heads
FUSION_CONSTANT = 60  # of reciprocal rank fusion: Cormack et al., SIGIR 2009; RAG-Fusion's too


@dataclass(frozen=True, slots=True)
class Gate:
    """When the pieces of a question count beside the whole of it.

    A piece that names a subject of its own has a document nearer to it than the whole question has
    (cosine of the standard vectors); a mere piece of a question about one thing has none. So they
    count by the mean ratio of these two cosines: nothing up to the first number of a pair, fully
    from the second on, straight between. Where punctuation or conjunctions cut a question into
    clauses, only these are asked, and less is demanded of them: the writer's own marks speak for
    several subjects too. The pieces of a long question are small shares of it, and less near.
    """

    clauses: tuple[float, float] = (0.80, 0.95)  # of a question with at least two clauses
    parts: tuple[float, float] = (0.95, 1.10)  # of one without
    long: tuple[float, float] = (0.65, 0.80)  # of one of more than `long_words`
    long_words: int = 64
    caution: float = 0.0  # added to all of them: at 1 no piece counts, at -1 each does
    # Of a long question many pieces name nothing: each counts by its own ratio, to this power,
    # the ratio at most `max_ratio`.
    ratio_power: float = 0.5
    max_ratio: float = 1.5


@dataclass(frozen=True, slots=True)
class VoteSpec:
    """How rankings become hits. The defaults lie on a plateau on both of the paper's sets."""

    # What a hit is worth to its voter: decay^rank, constant / (constant + rank), or 1 / its cosine
    # distance. Ranks from 0.
    rule: Literal["rank", "reciprocal", "distance"] = "rank"
    decay: float = 0.5  # what a rank is worth of the one above it; the paper's is 1/2
    constant: float = FUSION_CONSTANT  # of reciprocal ranks: so many ranks down, half is left
    power: float = 2.0  # p, over windows; 1 is a plain sum
    standard_weight: float = 0.4  # of the standard vector, as a share of all heads' weights
    lexical_weight: float = 0.4  # of the lexical voter (BM25), as a share of all heads' weights
    coverage: float = 0.8  # how far a window is done with once its best document is taken
    # A hit's worth is also its score's share of its ranking's best, to this power; 0: ranks alone.
    score_power: float = 0.0
    # Where the first window is the whole question: its hits are worth their share of the best
    # score, whatever their ranks.
    whole_by_score: bool = False
    gate: Gate | None = None  # when the pieces of a question count; None: always


PAPER = VoteSpec(power=1.0, standard_weight=0.0, coverage=0.0)
