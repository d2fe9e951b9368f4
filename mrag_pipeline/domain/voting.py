"""Turns rankings into hits: every (window, voter) ranks documents, and they vote.

A voter is a head, or the standard vector. In each ranking a document stands once, at its best
passage, and gets `weight * decay^rank` there (rank from 0). Its vote is

    V(d) = ( sum over windows w of ( sum over voters v of weight_v * decay^rank_wv(d) )^p )^(1/p)

With one window, heads only, decay 1/2 and one passage per document this is the rule of MRAG
(arXiv 2406.05085, section 3.3). p > 1 lets a document that one window is sure of win over one
that many windows mention in passing.

Hits are then taken one by one. What a window has said for a hit already taken counts less
afterwards, by the share of its best document's vote: documents that answer the same windows
(near-duplicates, neighbours) do not crowd out the other aspects. This is the explicit
diversification of xQuAD (Santos et al., WWW 2010) with windows as the aspects. With one window
it changes no order, because all documents lose the same share.

Ties go to the smaller chunk id, so equal rankings give equal hits everywhere.
Shape legend: V voters, W windows, c hits per ranking, G chunks, M documents.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.vote_spec import FUSION_CONSTANT, VoteSpec

_CLOSEST = 1e-6  # a distance of 0 would be worth infinitely much


@dataclass(frozen=True, slots=True, eq=False)
class WeightedRankings:
    """All rankings of one query."""

    ids: NDArray[np.int64]  # (V, W, c) chunk ids, best first; -1 where there is none
    scores: NDArray[np.float32]  # (V, W, c) cosine similarity
    weights: NDArray[np.float64]  # (V,), >= 0
    window_weights: NDArray[np.float64] | None = None  # (W,), >= 0; None: each counts 1


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """A document that was chosen."""

    document_id: str
    chunk_ids: tuple[int, ...]  # its passages that got votes, best first
    vote: float  # V(d)
    added: float  # of it, what no earlier hit had answered: never rises from hit to hit
    parts: NDArray[np.float64]  # (V, W) what each voter gave in each window
    share: float = 0.0  # of everything that voters gave to candidates, in all windows


def window_weights(
    best: NDArray[np.floating], are_clauses: NDArray[np.bool_], num_words: int, spec: VoteSpec
) -> NDArray[np.float64]:
    """How much each window counts: 1 for the whole question, the others by the gate.

    Args:
        best: (W,) the cosine of each window's best hit by the standard vector; the first window is
            the whole question.
        are_clauses: (W,) the windows that are clauses of the question.
        num_words: of the whole question.
        spec: without a gate every window counts 1.
    Returns: (W,), at least 0.
    """
    weights = np.ones(len(best))
    gate = spec.gate
    if gate is None or len(best) < 2 or not best[0] > 0:
        return weights
    ratios = best[1:].astype(np.float64) / float(best[0])
    clauses = ratios[are_clauses[1:]]
    if num_words > gate.long_words:
        asked, (start, full) = ratios, gate.long
        weights[1:] = np.clip(ratios, 0.0, gate.max_ratio) ** gate.ratio_power
    elif len(clauses) >= 2:
        asked, (start, full) = clauses, gate.clauses
    else:
        asked, (start, full) = ratios, gate.parts
    share = (float(asked.mean()) - gate.caution - start) / (full - start)
    # A share of the vote over windows, which is a sum of powers.
    weights[1:] *= np.clip(share, 0.0, 1.0) ** (1.0 / spec.power)
    return weights


def candidate_chunks(rankings: WeightedRankings, spec: VoteSpec, size: int) -> list[int]:
    """The chunks with the highest votes when each chunk counts as a document of its own.

    Only their documents have to be looked up. Returns: at most `size` ids, best first.
    """
    chunks, places = _chunks(rankings)
    ranks = np.broadcast_to(np.arange(rankings.ids.shape[2]), rankings.ids.shape)
    num_windows = rankings.ids.shape[1]
    # Summed over voters at once: with all voters apart this would be the largest array of all.
    cells = places * num_windows + np.arange(num_windows)[:, None]
    worth = _worth(rankings, ranks, spec)
    votes = _sums(cells, worth, len(chunks) * num_windows).reshape(len(chunks), num_windows)
    total = _over_windows(votes, spec.power)
    order = np.lexsort((chunks, -total))
    return [int(chunks[row]) for row in order if chunks[row] >= 0][:size]


def choose_documents(
    rankings: WeightedRankings,
    documents: Mapping[int, str],
    spec: VoteSpec,
    k: int,
    gone: Collection[int] = (),
) -> list[Hit]:
    """The k documents chosen, in the order they were chosen; a smaller k gives the same start.

    Args:
        documents: by chunk id. A chunk without a document here keeps its rank and cannot be
            chosen.
        gone: chunks that no longer exist: the ranks below them close up.
    """
    chunks, cells = _chunks(rankings)
    names = list(dict.fromkeys(documents[c] for c in chunks.tolist() if c in documents))
    if not names or k < 1:
        return []
    owner = _owners(chunks, documents, names, gone)  # (G,)
    ranks = _ranks(owner[cells])
    worth = np.where(ranks >= 0, _worth(rankings, np.maximum(ranks, 0), spec), 0.0)
    named = np.flatnonzero((owner >= 0) & (owner < len(names)))
    row = np.full(len(chunks), len(named))
    row[named] = np.arange(len(named))
    passages = _parts(row[cells], worth, len(named))
    parts = np.zeros((len(names), *passages.shape[1:]))
    np.add.at(parts, owner[named], passages)
    # Falling votes, ids rising among equals: so the first passage of a document is its best.
    order = np.lexsort((named, -_over_windows(passages.sum(axis=1), spec.power)))
    voted: list[list[int]] = [[] for _ in names]  # passages that got votes, best first
    for passage in order.tolist():
        if passages[passage].any():
            voted[owner[named[passage]]].append(int(chunks[named[passage]]))
    first = np.array([ids[0] if ids else -1 for ids in voted])
    votes = _over_windows(parts.sum(axis=1), spec.power)
    given = parts.sum(axis=(1, 2))
    shares = given / max(float(given.sum()), np.finfo(np.float64).tiny)
    return [
        Hit(names[m], tuple(voted[m]), float(votes[m]), added, parts[m], float(shares[m]))
        for m, added in _choose(parts.sum(axis=1), first, spec, k)
    ]


def fuse(rankings: Sequence[Sequence[str]], depth: int) -> list[tuple[str, float]]:
    """Reciprocal rank fusion: documents by the sum of 1 / (60 + rank), best first.

    Only each ranking's first `depth` are fused, then the next `depth`, and so on: with so large
    a constant a deep ranking would let what stands far down in several win over every first.
    Ties go to the document that came first in an earlier ranking. Rank from 0, as in RAG-Fusion.
    """
    fused: dict[str, float] = {}
    for start in range(0, max(map(len, rankings), default=0), depth):
        votes: dict[str, float] = {}
        for ranking in rankings:
            for rank, document in enumerate(ranking[start : start + depth], start):
                votes[document] = votes.get(document, 0.0) + 1.0 / (FUSION_CONSTANT + rank)
        for document, vote in sorted(votes.items(), key=lambda item: -item[1]):
            fused.setdefault(document, vote)
    return list(fused.items())


def _chunks(rankings: WeightedRankings) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """(G,) the chunks of all rankings, ids rising; and (V, W, c) each hit's row among them."""
    chunks, rows = np.unique(rankings.ids, return_inverse=True)
    return chunks, rows.reshape(rankings.ids.shape)


def _owners(
    chunks: NDArray[np.int64],
    documents: Mapping[int, str],
    names: Sequence[str],
    gone: Collection[int],
) -> NDArray[np.intp]:
    """(G,) each chunk's document as a number; -1 for padding and chunks that are gone.

    A chunk whose document is unknown is a document of its own, numbered after the named ones.
    """
    number_of = {name: number for number, name in enumerate(names)}
    owner = np.empty(len(chunks), np.intp)
    for row, chunk in enumerate(chunks.tolist()):
        if chunk < 0 or chunk in gone:
            owner[row] = -1
        else:
            owner[row] = number_of[documents[chunk]] if chunk in documents else len(names) + row
    return owner


def _ranks(owners: NDArray[np.intp]) -> NDArray[np.intp]:
    """Each hit's rank among the documents of its ranking; -1 but for a document's best passage."""
    order = np.argsort(owners, axis=2, kind="stable")
    ranked = np.take_along_axis(owners, order, axis=2)
    new = np.ones(ranked.shape, bool)
    new[:, :, 1:] = ranked[:, :, 1:] != ranked[:, :, :-1]
    best = np.zeros(ranked.shape, bool)
    np.put_along_axis(best, order, new, axis=2)
    best &= owners >= 0
    ranks: NDArray[np.intp] = np.where(best, np.cumsum(best, axis=2) - 1, -1)
    return ranks


def _worth(
    rankings: WeightedRankings, ranks: NDArray[np.intp], spec: VoteSpec
) -> NDArray[np.float64]:
    """(V, W, c): what a hit at that rank is worth."""
    weights = rankings.weights[:, None, None]
    if rankings.window_weights is not None:
        weights = weights * rankings.window_weights[None, :, None]
    if spec.rule == "distance":
        similarity = rankings.scores.astype(np.float64)
        worth = np.where(np.isfinite(similarity), 1.0 / np.maximum(1.0 - similarity, _CLOSEST), 0.0)
        distant: NDArray[np.float64] = weights * worth
        return distant
    depth = ranks.astype(np.float64)
    if spec.rule == "reciprocal":
        share = spec.constant / (spec.constant + depth)
    else:
        share = spec.decay**depth
    is_whole = spec.whole_by_score and rankings.window_weights is not None
    if spec.score_power or is_whole:
        of_best = _shares_of_best(rankings.scores)
        share = share * of_best**spec.score_power
        if is_whole:
            share[:, 0] = of_best[:, 0]
    # The padding of a short ranking is worth nothing.
    ranked: NDArray[np.float64] = np.where(rankings.ids >= 0, weights * share, 0.0)
    return ranked


def _shares_of_best(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """(V, W, c): each hit's score as a share of the first one's, 0 to 1."""
    exact = np.where(np.isfinite(scores), scores, 0.0).astype(np.float64)
    best = np.maximum(exact[:, :, :1], np.finfo(np.float32).tiny)
    shares: NDArray[np.float64] = np.clip(exact / best, 0.0, 1.0)
    return shares


def _parts(
    rows: NDArray[np.intp], worth: NDArray[np.float64], num_rows: int
) -> NDArray[np.float64]:
    """(num_rows, V, W): what each row's passage gets from each voter in each window.

    Args:
        rows: (V, W, c); hits of the row `num_rows` are not wanted.
    """
    num_voters, num_windows, _ = rows.shape
    num_rankings = num_voters * num_windows
    ranking = np.arange(num_rankings).reshape(num_voters, num_windows, 1)
    cells = rows * num_rankings + ranking
    sums = _sums(cells, worth, (num_rows + 1) * num_rankings)
    return sums.reshape(num_rows + 1, num_voters, num_windows)[:num_rows]


def _sums(
    cells: NDArray[np.intp], worth: NDArray[np.float64], num_cells: int
) -> NDArray[np.float64]:
    """(num_cells,): what falls into each cell, added in the order of the rankings."""
    sums: NDArray[np.float64] = np.bincount(cells.ravel(), worth.ravel(), num_cells).astype(
        np.float64, copy=False
    )
    return sums


def _over_windows(votes: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """(M,) of (M, W): the power mean's sum over windows."""
    if votes.shape[1] == 1:
        return votes[:, 0]
    summed: NDArray[np.float64] = (votes**power).sum(axis=1) ** (1.0 / power)
    return summed


def _choose(
    votes: NDArray[np.float64], first: NDArray[np.int64], spec: VoteSpec, k: int
) -> list[tuple[int, float]]:
    """The documents chosen one by one, and what each added; a window counts less once answered.

    Args:
        votes: (M, W).
        first: (M,) decides ties: the smaller wins.
    """
    share = votes / np.maximum(votes.max(axis=0), np.finfo(np.float64).tiny)
    window_weights = np.ones(votes.shape[1])
    free = votes.sum(axis=1) > 0.0
    chosen: list[tuple[int, float]] = []
    while len(chosen) < k and free.any():
        added = np.where(free, _over_windows(votes * window_weights, spec.power), -1.0)
        best = int(np.lexsort((first, -added))[0])
        chosen.append((best, float(added[best])))
        free[best] = False
        window_weights = window_weights * (1.0 - spec.coverage * share[best])
    return chosen
