"""Which passages a reranker reads, and how its scores become an order.

A reranker reads one query and one passage at a time. Read against a whole question of several
subjects, a passage about one of them looks like a poor answer, and the best are all about the
subject that the question says most about. So each window's own documents are scored for that
window, and the windows' rankings vote as before: with coverage, so that every subject keeps its
place. A question of one window is reranked in the ordinary way.

Scores are only compared within a window: how high a model scores a short window or a long one says
more of the model than of the passages. How much a window counts stays the vote's.
Shape legend: V voters, W windows, M documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.vote_spec import PAPER, VoteSpec
from mrag_pipeline.domain.voting import WeightedRankings, choose_documents, fuse

MIN_DOCUMENTS = 4  # of a window that is reranked: one of fewer could hardly change its order


@dataclass(frozen=True, slots=True)
class WindowDocuments:
    """The documents to score for one window."""

    window: int
    weight: float  # the highest vote that the window gave
    documents: tuple[int, ...]  # rows of the votes, best first


@dataclass(frozen=True, slots=True)
class Reranked:
    """A document's place in the new order."""

    document: int  # its row in the votes
    window: int  # for which it was scored and got its place
    score: float


def documents_by_window(votes: NDArray[np.floating], budget: int) -> list[WindowDocuments]:
    """The documents to score for each window, `budget` in all at most.

    Windows share the budget by the highest vote that each gave, with MIN_DOCUMENTS for each; if
    it does not reach for all, those that gave least are left out. One window gets all of it.

    Args:
        votes: (M, W) what each document got in each window, best document first.
    Returns: in the order of the windows; none without votes.
    """
    highest = votes.max(axis=0, initial=0.0)
    by_weight = np.argsort(-highest, kind="stable")
    kept = [window for window in by_weight.tolist() if highest[window] > 0.0]
    kept = sorted(kept[: max(1, budget // MIN_DOCUMENTS)])
    to_share = max(0, budget - MIN_DOCUMENTS * len(kept))
    total = float(highest[kept].sum())
    chosen = []
    for window in kept:
        depth = min(budget, MIN_DOCUMENTS + int(to_share * highest[window] / total))
        order = np.argsort(-votes[:, window], kind="stable")[:depth]
        documents = tuple(row for row in order.tolist() if votes[row, window] > 0.0)
        chosen.append(WindowDocuments(window, float(highest[window]), documents))
    return chosen


def reranked(
    windows: Sequence[WindowDocuments],
    scores: Sequence[NDArray[np.float64]],
    strategy: Strategy,
    fused_documents: int,
) -> list[Reranked]:
    """The documents that were scored, in their new order, each once.

    Each window ranks its documents by their scores, equal ones as the vote did; these rankings
    vote as the strategy's do, each window with its weight.

    Args:
        scores: of each window's documents, in their order.
        fused_documents: of each window, before any of a deeper rank, where windows are fused.
    """
    orders = [
        [row.documents[place] for place in np.argsort(-values, kind="stable").tolist()]
        for row, values in zip(windows, scores, strict=True)
    ]
    score_of = [
        dict(zip(row.documents, values.tolist(), strict=True))
        for row, values in zip(windows, scores, strict=True)
    ]
    if strategy.is_fused:
        places = _fused(orders, fused_documents)
    else:
        places = _voted(orders, [row.weight for row in windows], strategy)
    return [
        Reranked(document, windows[place].window, score_of[place][document])
        for document, place in places
    ]


def _voted(
    orders: Sequence[Sequence[int]], weights: Sequence[float], strategy: Strategy
) -> list[tuple[int, int]]:
    """Each document, and the place in `orders` of the window that gave it most."""
    depth = max(map(len, orders), default=0)
    if not depth:
        return []
    ids = np.full((1, len(orders), depth), -1, np.int64)
    for place, order in enumerate(orders):
        ids[0, place, : len(order)] = order
    rankings = WeightedRankings(
        ids, np.zeros(ids.shape, np.float32), np.ones(1), np.array(weights) / max(weights)
    )
    names = {document: str(document) for order in orders for document in order}
    hits = choose_documents(rankings, names, _by_ranks(strategy.vote), len(names))
    return [(int(hit.document_id), int(hit.parts[0].argmax())) for hit in hits]


def _by_ranks(vote: VoteSpec) -> VoteSpec:
    """The vote without scores: a reranker's are neither distances nor shares of a best one."""
    if vote.rule == "distance":
        return PAPER
    if not vote.score_power:
        return replace(vote, whole_by_score=False)
    # Ranks alone have to fall faster: else a window's third document seems to answer it.
    return replace(vote, constant=vote.constant / 2, score_power=0.0, whole_by_score=False)


def _fused(orders: Sequence[Sequence[int]], depth: int) -> list[tuple[int, int]]:
    """As `_voted`, by reciprocal rank fusion: what the fusion strategies do with sub-queries."""
    fused = fuse([[str(document) for document in order] for order in orders], depth)
    best: Mapping[int, int] = {
        document: min(
            (place for place, order in enumerate(orders) if document in order),
            key=lambda place: orders[place].index(document),
        )
        for document in {document for order in orders for document in order}
    }
    return [(int(name), best[int(name)]) for name, _ in fused]
