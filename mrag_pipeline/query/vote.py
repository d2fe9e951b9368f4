"""Fifth step: a question's rankings vote, over all its windows at once or window by window.

Shape legend: V voters, W windows, c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.vote_spec import STANDARD
from mrag_pipeline.domain.voting import (
    Hit,
    WeightedRankings,
    candidate_chunks,
    choose_documents,
    fuse,
    window_weights,
)
from mrag_pipeline.ports import Ranking
from mrag_pipeline.query.checks import check_missing
from mrag_pipeline.query.joint_search import Ranked
from mrag_pipeline.query.plan import SearchPlan


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """The votes of one question, before the chunks' documents are known."""

    plan: SearchPlan
    voters: tuple[str, ...]  # those that answered in time
    missing: tuple[str, ...]  # those that did not
    rankings: WeightedRankings  # (V, W, c), of the voters that answered
    candidates: list[int]  # chunks whose documents may be chosen, best first


def collect_votes(plan: SearchPlan, ranked: Ranked, num_candidates: int) -> Votes:
    """The votes of the voters that answered.

    Args:
        num_candidates: chunks whose documents are looked up, more if k is large.
    Raises: HeadsMissing if more voters are missing than the question allows.
    """
    names = plan.voters.names
    answered = [voter for voter, ranking in enumerate(ranked) if ranking is not None]
    missing = tuple(name for voter, name in enumerate(names) if ranked[voter] is None)
    if missing:
        check_missing(missing, names, plan.question.min_heads)
    answers = [ranking for ranking in ranked if ranking is not None]
    standard = ranked[names.index(STANDARD)] if STANDARD in names else None
    rankings = WeightedRankings(
        np.stack([ranking.ids for ranking in answers]),
        np.stack([ranking.scores for ranking in answers]),
        plan.voters.weights[answered],
        weigh_windows(plan, standard),
    )
    size = max(num_candidates, 4 * plan.question.k)
    candidates = candidate_chunks(rankings, plan.strategy.vote, size)
    return Votes(plan, tuple(names[voter] for voter in answered), missing, rankings, candidates)


def weigh_windows(plan: SearchPlan, standard: Ranking | None) -> NDArray[np.float64] | None:
    """How much each window counts beside the whole question; None: there is no whole question.

    Args:
        standard: the standard vector's ranking; None if it does not vote or did not answer.
    Returns: (W,), at least 0.
    """
    if plan.strategy.windows != "question":
        return None
    windows = plan.question.embedded.windows
    if standard is None or windows[-1].scale == "given":
        return np.ones(len(windows))  # nothing says how near they are; or each is meant
    are_clauses = np.array([window.scale == "clause" for window in windows])
    return window_weights(standard.scores[:, 0], are_clauses, plan.num_words, plan.strategy.vote)


def choose_hits(votes: Votes, documents: Mapping[int, str], fused_documents: int) -> list[Hit]:
    """The k best documents, or as many as were found.

    Args:
        documents: by chunk id. A candidate without one no longer exists: the ranks below it
            close up.
        fused_documents: of each window, before any of a deeper rank, where windows are fused.
    """
    owners = {chunk: documents[chunk] for chunk in votes.candidates if chunk in documents}
    gone = set(votes.candidates) - owners.keys()
    strategy, rankings, k = votes.plan.strategy, votes.rankings, votes.plan.question.k
    if not strategy.is_fused:
        return choose_documents(rankings, owners, strategy.vote, k, gone)
    by_window = []
    for window in range(rankings.ids.shape[1]):
        column = slice(window, window + 1)
        alone = WeightedRankings(
            rankings.ids[:, column], rankings.scores[:, column], rankings.weights
        )
        by_window.append(choose_documents(alone, owners, strategy.vote, k, gone))
    return _fused(by_window, len(rankings.weights), fused_documents)[:k]


def _fused(by_window: Sequence[Sequence[Hit]], num_voters: int, depth: int) -> list[Hit]:
    """One list of hits from each window's own, by reciprocal rank fusion."""
    by_document: list[dict[str, Hit]] = [
        {hit.document_id: hit for hit in hits} for hits in by_window
    ]
    fused = []
    votes = fuse([list(hits) for hits in by_document], depth)
    total = sum(vote for _, vote in votes)
    for document, vote in votes:
        parts = np.zeros((num_voters, len(by_window)))
        chunk_ids: dict[int, None] = {}
        for window, hits in enumerate(by_document):
            if document in hits:
                parts[:, window] = hits[document].parts[:, 0]
                chunk_ids.update(dict.fromkeys(hits[document].chunk_ids))
        fused.append(Hit(document, tuple(chunk_ids), vote, vote, parts, vote / total))
    return fused
