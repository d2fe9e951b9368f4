"""The ways to retrieve, as data: one name each for the CLI, the API and evaluation.

Every strategy is windows x voters x a vote; what differs is written in its row here.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Literal

from mrag_pipeline.domain.vote_spec import PAPER, Gate, VoteSpec
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.retrieve import RetrieveSpec

# What is searched: the head collections; the standard vector, whole or cut into H pieces; words.
VoterKind = Literal["heads", "standard", "lexical", "pieces"]
# The whole query; aspect windows of a long one; the whole question beside its clauses and parts;
# what a chat model made of it.
Windows = Literal["query", "aspects", "question", "sub-queries"]

DEFAULT = RetrieveSpec().strategy  # where the config names no other

# Reciprocal rank fusion of one window's rankings: no diversity, all voters equal.
FUSED = VoteSpec("reciprocal", power=1.0, standard_weight=1.0, lexical_weight=1.0, coverage=0.0)
# The whole question by scores, its pieces by scores and ranks, as far as the gate lets them count.
# Measured in docs/retrieval.md.
ADAPTIVE = VoteSpec(
    "reciprocal",
    constant=10.0,
    score_power=1.0,
    power=4.0,
    standard_weight=1.4,
    lexical_weight=1.1,
    coverage=0.5,
    whole_by_score=True,
    gate=Gate(),
)
# Over windows, voters without heads: equal weights.
EQUAL = VoteSpec(standard_weight=1.0, lexical_weight=1.0)


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to retrieve."""

    name: str
    summary: str  # for people
    # Which kinds vote; where a version has no words, all others do. Weights: the vote's.
    voters: tuple[VoterKind, ...]
    windows: Windows = "query"
    weighted: bool = False  # heads by their importance, else each counts 1
    vote: VoteSpec = PAPER
    is_fused: bool = False  # each window retrieves alone; reciprocal rank fusion joins them

    @property
    def needs_words(self) -> bool:
        """Whether only words are searched: an index without full-text search cannot answer."""
        return self.voters == ("lexical",)


STRATEGIES: dict[str, Strategy] = {
    option.name: option
    for option in (
        Strategy(
            "adaptive",
            "the whole question beside its parts, which count if they name subjects; heads, "
            "standard vector and BM25 vote",
            ("heads", "standard", "lexical"),
            windows="question",
            weighted=True,
            vote=ADAPTIVE,
        ),
        Strategy(
            "hybrid-adaptive",
            "as adaptive, without heads: the ablation",
            ("standard", "lexical"),
            windows="question",
            vote=replace(ADAPTIVE, standard_weight=1.0, lexical_weight=0.8),
        ),
        Strategy(
            "aspect",
            "aspect windows; heads and the standard vector vote; coverage of all windows",
            ("heads", "standard"),
            windows="aspects",
            weighted=True,
            vote=VoteSpec(),
        ),
        Strategy(
            "mrag",
            "the paper's rule: the whole query, heads weighted",
            ("heads",),
            weighted=True,
        ),
        Strategy("mrag-unweighted", "the paper's rule with every head counting 1", ("heads",)),
        Strategy(
            "mrag-distance",
            "heads vote 1 / distance instead of by rank",
            ("heads",),
            vote=VoteSpec("distance", power=1.0, coverage=0.0),
        ),
        Strategy("split", "the standard vector cut into as many pieces as heads", ("pieces",)),
        Strategy("standard", "the whole query's standard vector: ordinary RAG", ("standard",)),
        Strategy(
            "standard-windows",
            "as aspect, without heads: the ablation",
            ("standard",),
            windows="aspects",
            vote=VoteSpec(),
        ),
        Strategy("bm25", "the whole query's words by BM25: full-text search", ("lexical",)),
        Strategy(
            "bm25-windows",
            "aspect windows, each by BM25 alone",
            ("lexical",),
            windows="aspects",
            vote=VoteSpec(),
        ),
        Strategy(
            "hybrid",
            "standard vector and BM25 of the whole query, joined by reciprocal rank fusion",
            ("standard", "lexical"),
            vote=FUSED,
        ),
        Strategy(
            "hybrid-windows",
            "aspect windows; the standard vector and BM25 vote, no heads",
            ("standard", "lexical"),
            windows="aspects",
            vote=EQUAL,
        ),
        Strategy(
            "fusion",
            "sub-queries, each by its standard vector, joined by reciprocal rank fusion",
            ("standard",),
            windows="sub-queries",
            is_fused=True,
        ),
        Strategy(
            "fusion-mrag",
            "sub-queries, each by the paper's rule, joined by reciprocal rank fusion",
            ("heads",),
            windows="sub-queries",
            weighted=True,
            is_fused=True,
        ),
    )
}


def strategy(name: str) -> Strategy:
    """The strategy of that name.

    Raises: ConfigError, with the nearest name there is.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    near = difflib.get_close_matches(name, STRATEGIES, n=1)
    raise ConfigError(
        f"no strategy {name!r}",
        f"one of {', '.join(STRATEGIES)}",
        f"did you mean `{near[0]}`?" if near else "",
    )
