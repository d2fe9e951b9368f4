"""`[retrieve]`: how queries are answered that do not say it themselves.

Nothing here decides what is stored: a change needs no ingest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Interval

from mrag_pipeline.settings.bounds import Amount, PositiveAmount, PositiveCount, Share
from mrag_pipeline.settings.windows import WindowSpec

# A Milvus server's longest ranking.
Hits = Annotated[int, Interval(ge=1, le=16_384)]


@dataclass(frozen=True, slots=True)
class VoteConstants:
    """`[retrieve.vote]`: constants of the default strategy's vote; None: the strategy's own.

    Their meanings are those of `domain/voting.VoteSpec`.
    """

    decay: Annotated[float, Interval(gt=0.0, le=1.0)] | None = None
    constant: PositiveAmount | None = None
    power: Annotated[float, Interval(ge=1.0, le=16.0)] | None = None
    coverage: Share | None = None
    score_power: Amount | None = None
    caution: Annotated[float, Interval(ge=-1.0, le=1.0)] | None = None


@dataclass(frozen=True, slots=True)
class VoterShares:
    """`[retrieve.voters]`: how much each kind of voter counts in the default strategy.

    Only their ratios matter. 0: not searched. None: the strategy's own.
    """

    heads: Amount | None = None  # all heads together
    standard: Amount | None = None
    lexical: Amount | None = None  # where the version has no words, the others vote without it


@dataclass(frozen=True, slots=True)
class DepthSpec:
    """`[retrieve.depth]`: how deep a query searches.

    Doubling any of them moved figures by under 0.003 (measured).
    """

    hits_per_voter: Hits = 64  # over all windows; a vote at rank 8 counts 1/256 of one at rank 0
    min_hits_per_ranking: Hits = 8
    reciprocal_hits: Hits = 640  # as hits_per_voter, where votes fall slowly with the rank...
    min_reciprocal_hits: Hits = 24  # ...and for each window at least
    max_reciprocal_hits: Hits = 64  # ...and at most; half of it costs Cranfield .02 of nDCG@10
    candidates: Hits = 512  # chunks whose rows are fetched before documents are ranked


@dataclass(frozen=True, slots=True)
class RetrieveSpec:
    """How a query is answered, unless it says so itself."""

    strategy: str = "adaptive"  # a row of domain/strategies.py
    k: PositiveCount = 10  # documents
    windows: WindowSpec = field(default_factory=WindowSpec)
    vote: VoteConstants = field(default_factory=VoteConstants)
    voters: VoterShares = field(default_factory=VoterShares)
    depth: DepthSpec = field(default_factory=DepthSpec)
