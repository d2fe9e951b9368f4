"""Third step, before the search: what each question requests of the index, and with which others.

Shape legend: W windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.strategy_choice import choose_strategy
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.windows import words_in
from mrag_pipeline.query.checks import check_embeddings, check_k, check_min_score
from mrag_pipeline.query.question import Question
from mrag_pipeline.query.voters import Voters, voters_of
from mrag_pipeline.settings.retrieve import DepthSpec, RetrieveSpec

SEARCH_S = 30.0  # for the searches, if heads may be missing and no time is given


@dataclass(frozen=True, slots=True, eq=False)
class SearchPlan:
    """What one question requests of the index."""

    question: Question
    strategy: Strategy
    voters: Voters
    seconds: float | None  # for the searches; None: as long as the index takes
    num_words: int  # of the question; 0 where the strategy weighs no windows


def plan_search(question: Question, record: VersionRecord, spec: RetrieveSpec) -> SearchPlan:
    """The requests of a question's voters, deep enough for its k.

    Raises: ConfigError for k below 1, a min_score that is no cosine, or what `choose_strategy`
        refuses; FingerprintMismatch for another encoder's embeddings.
    """
    query = question.query
    strategy = choose_strategy(query.strategy, query.voters, spec)
    check_k(question.k)
    check_min_score(question.min_score)
    embeddings = question.embedded.embeddings
    check_embeddings(embeddings, record)
    limit = _depth(strategy, question.k, len(embeddings), spec.depth)
    seconds = question.seconds
    if seconds is None and question.min_heads is not None:
        seconds = SEARCH_S
    voters = voters_of(strategy, record, question.embedded, limit)
    num_words = len(words_in(query.text)) if strategy.windows == "question" else 0
    return SearchPlan(question, strategy, voters, seconds, num_words)


def _depth(strategy: Strategy, k: int, num_windows: int, spec: DepthSpec) -> int:
    """How many hits each ranking has: enough for k documents of several passages each."""
    if strategy.windows == "question" or strategy.vote.rule == "reciprocal":
        # Reciprocal ranks and scores fall slowly: what is deep in several rankings can still win.
        hits = min(spec.reciprocal_hits, spec.max_reciprocal_hits * num_windows)
        least = spec.min_reciprocal_hits
    else:
        hits, least = spec.hits_per_voter, spec.min_hits_per_ranking
    return max(least, math.ceil(max(hits, 4 * k) / num_windows))


def group_plans(plans: Mapping[int, SearchPlan]) -> list[dict[int, SearchPlan]]:
    """The plans that search together: those with the same filter and about the same time limit."""
    groups: dict[tuple[object, ...], dict[int, SearchPlan]] = {}
    for number, plan in plans.items():
        # By text: True, 1 and 1.0 are equal in Python but differ in a filter.
        key = (repr(plan.question.filter), _time_class(plan.seconds))
        groups.setdefault(key, {})[number] = plan
    return list(groups.values())


def least_seconds(plans: Iterable[SearchPlan]) -> float | None:
    """The shortest of the plans' time limits, None if none has one."""
    limits = (plan.seconds for plan in plans)
    return min((seconds for seconds in limits if seconds is not None), default=None)


def _time_class(seconds: float | None) -> int | None:
    """Equal for time limits that differ by less than half of the shorter one."""
    return None if seconds is None else math.floor(math.log(max(seconds, 0.001), 1.5))
