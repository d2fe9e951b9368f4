"""How many heads need not be searched because the first k documents can no longer change.

A hit is worth at most its voter's weight, so what the heads that were not searched can still give a
document is at most the sum of their weights, in each window. `vote_ideas.py` prints the results.

Shape legend: V voters, W windows, H heads, M documents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.vote_spec import LEXICAL, STANDARD
from mrag_pipeline.domain.voting import choose_documents
from mrag_pipeline.query.vote import Votes

Floats = NDArray[np.float64]
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Stops:
    """Of one question: heads that could be left out, by k."""

    proven: dict[int, int]  # the first k and their order, by bounds that a search could know
    order: dict[int, int]  # the same if the windows' final weights were known beforehand
    chosen: dict[int, int]  # which k they are, in any order, with the same knowledge


def stops(votes: Votes, documents: dict[int, str], ks: tuple[int, ...]) -> Stops:
    """Of a question whose voters were all searched.

    The standard vector and words come first (the gate needs the former), then heads by falling
    importance, so that the least is left to come.
    """
    strategy = votes.plan.strategy
    owners = {chunk: documents[chunk] for chunk in votes.candidates}
    hits = choose_documents(votes.rankings, owners, strategy.vote, len(owners))
    parts = np.array([hit.parts for hit in hits])  # (M, V, W), as the documents are chosen
    weights = votes.rankings.weights[:, None]
    if votes.rankings.window_weights is not None:
        weights = weights * votes.rankings.window_weights[None, :]
    weights = np.broadcast_to(weights, parts.shape[1:])  # (V, W)
    counts = weights.max(axis=0) > 0  # what the gate has closed cannot change anything
    weights, parts = weights[:, counts], parts[:, :, counts]
    is_head = np.array([name not in (STANDARD, LEXICAL) for name in votes.voters])
    heads = np.flatnonzero(is_head)
    heads = heads[np.argsort(-votes.rankings.weights[heads], kind="stable")]
    power, coverage = strategy.vote.power, strategy.vote.coverage
    known = _final_weights(parts.sum(axis=1), coverage)
    proven, order, chosen = (dict.fromkeys(ks, 0) for _ in range(3))
    for num_left in range(1, len(heads) + 1):
        left = heads[len(heads) - num_left :]
        low = np.delete(parts, left, axis=1).sum(axis=1)  # (M, W)
        rest = weights[left].sum(axis=0)  # (W,)
        for k in ks:
            if proven[k] == num_left - 1 and is_proven(low, rest, k, power, coverage):
                proven[k] = num_left
            if order[k] == num_left - 1 and _is_ordered(low, rest, known, k, power):
                order[k] = num_left
            if chosen[k] == num_left - 1 and _is_ordered(low, rest, known, k, power, is_set=True):
                chosen[k] = num_left
    return Stops(proven, order, chosen)


def is_proven(low: Floats, rest: Floats, k: int, power: float, coverage: float) -> bool:
    """Whether the first k, rows of (M, W) `low` in order, are those whatever is still to come."""
    high = low + rest
    most = np.maximum(high.max(axis=0), _LEAST)
    least = np.maximum(low.max(axis=0), _LEAST)
    from_weights, to_weights = np.ones(len(rest)), np.ones(len(rest))
    if len(rest) == 1:
        coverage = 0.0  # all documents lose the same share
    for place in range(min(k, len(low))):
        sure = _added(low[place : place + 1] * from_weights, power)[0]
        others = _added(np.vstack([high[place + 1 :], rest[None]]) * to_weights, power)
        if sure <= others.max():
            return False
        from_weights = from_weights * (1 - coverage * np.clip(high[place] / least, 0, 1))
        to_weights = to_weights * (1 - coverage * np.clip(low[place] / most, 0, 1))
    return True


def _is_ordered(
    low: Floats, rest: Floats, known: Floats, k: int, power: float, is_set: bool = False
) -> bool:
    """As `is_proven`, with the (M, W) weights that windows have when each place is filled."""
    high = low + rest
    for place in range(min(k, len(low))):
        sure = _added(low[place : place + 1] * known[place], power)[0]
        start = k if is_set else place + 1
        others = _added(np.vstack([high[start:], rest[None]]) * known[place], power)
        if sure <= others.max():
            return False
    return True


def _final_weights(votes: Floats, coverage: float) -> Floats:
    """(M, W): what each window still counts when a place is filled, of votes in order."""
    share = votes / np.maximum(votes.max(axis=0), _LEAST)
    done = np.cumprod(1.0 - coverage * share, axis=0)
    return np.vstack([np.ones((1, votes.shape[1])), done[:-1]])


def _added(votes: Floats, power: float) -> Floats:
    """(M,) of (M, W): a document's vote over its windows."""
    return np.asarray((votes**power).sum(axis=1) ** (1.0 / power))
