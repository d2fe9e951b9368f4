"""Last step: how near each hit is to the question, in numbers that compare between questions.

A vote orders the hits of one question and means nothing beside another question's. What the votes'
rankings do not say of the hits' passages is searched once more, by id.
Shape legend: V voters, W windows, P passages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.aspects import Aspect, nearness, whole_aspect
from mrag_pipeline.domain.verdicts import Levels
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.vote_spec import LEXICAL, STANDARD
from mrag_pipeline.domain.voting import Hit
from mrag_pipeline.errors import HeadsMissing
from mrag_pipeline.ports import (
    AnySearchRequest,
    ChunkRow,
    Ranking,
    SearchRequest,
    TextSearchRequest,
)
from mrag_pipeline.query.answer import AspectFound, FoundDocument
from mrag_pipeline.query.joint_search import Ranked
from mrag_pipeline.query.passages import window_passages
from mrag_pipeline.query.vote import Votes

_PASSAGES = 8  # of a hit that are scored: those with most votes
_NEAREST = 5  # of each window, whether they became hits or not: what the version has on an aspect


@dataclass(frozen=True, slots=True, eq=False)
class ScoreRequests:
    """What the votes' rankings say of one question's passages, and what the index is asked."""

    column_of: Mapping[int, int]  # by chunk id: of the passages, in `cosines`
    cosines: NDArray[np.float64]  # (W, P), NaN where no ranking has it
    bm25: Mapping[int, float] | None  # by chunk id; None: the version has no words
    requests: tuple[AnySearchRequest, ...]  # for what is missing: the standard vector, words


def score_requests(votes: Votes, hits: Sequence[Hit], record: VersionRecord) -> ScoreRequests:
    """What is missing of the scores of the hits' passages, and of those nearest to each window."""
    of_hits = np.array(
        list(dict.fromkeys(chunk for hit in hits for chunk in _scored(votes, hit))), np.int64
    )
    passages = np.unique(np.concatenate([of_hits, _nearest(votes)]))
    column_of = {chunk: column for column, chunk in enumerate(passages.tolist())}
    embedded = votes.plan.question.embedded
    cosines = np.full((len(embedded.windows), len(passages)), np.nan)
    _fill(cosines, column_of, _ranking_of(votes, STANDARD))
    requests: list[AnySearchRequest] = []
    unknown = passages[np.isnan(cosines).any(axis=0)]
    if len(unknown):
        vectors = embedded.embeddings.standard
        requests.append(SearchRequest(record.chunks_collection(), vectors, len(unknown), unknown))
    words = record.lexical_collection()
    if words is None or record.lexical is None:
        return ScoreRequests(column_of, cosines, None, tuple(requests))
    texts = tuple(window.text for window in embedded.windows)
    bm25: dict[int, float] = {}
    if embedded.windows[0].scale == "query":
        texts = texts[:1]  # BM25 adds up over words: no part scores higher than the whole
        ranking = _ranking_of(votes, LEXICAL)
        if ranking is not None:
            whole = Ranking(ranking.ids[:1], ranking.scores[:1])
            bm25 = _best(whole)
            if (whole.ids < 0).any():  # it ended early: no other passage has a word of it
                bm25 |= {chunk: 0.0 for chunk in of_hits.tolist() if chunk not in bm25}
    without = np.array([chunk for chunk in of_hits.tolist() if chunk not in bm25], np.int64)
    if len(without):
        requests.append(TextSearchRequest(words, texts, len(without), record.lexical, without))
    return ScoreRequests(column_of, cosines, bm25, tuple(requests))


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The scores of one question's passages."""

    column_of: Mapping[int, int]  # by chunk id
    cosines: NDArray[np.float64] | None  # (W, P), NaN where the index has none; None: no time
    bm25: Mapping[int, float] | None  # by chunk id, above 0; None: no words, or no time


def scores_of(asked: ScoreRequests, ranked: Ranked) -> Scores:
    """The scores, of which the index returned those that were missing."""
    cosines: NDArray[np.float64] | None = asked.cosines.copy()
    bm25 = None if asked.bm25 is None else dict(asked.bm25)
    for request, ranking in zip(asked.requests, ranked, strict=True):
        if isinstance(request, SearchRequest):
            cosines = None if ranking is None else cosines
            if cosines is not None:
                _fill(cosines, asked.column_of, ranking)
        elif ranking is None:
            bm25 = None
        elif bm25 is not None:
            bm25 |= _best(ranking)
    return Scores(asked.column_of, cosines, bm25)


def score(
    votes: Votes,
    hits: Sequence[Hit],
    rows: Mapping[int, ChunkRow],
    scores: Scores,
    levels: Levels | None,
) -> tuple[list[FoundDocument], list[AspectFound]]:
    """The hits with their scores, and what the version has on each aspect.

    Hits below the question's `min_score` are left out.
    Raises: HeadsMissing if there is a `min_score` and the standard vector did not answer in time.
    """
    aspects = _aspects(votes)
    near = None
    if scores.cosines is not None:
        near = np.array([nearness(aspect, scores.cosines) for aspect in aspects])  # (A, P)
    min_score = votes.plan.question.min_score
    if min_score is not None and hits and near is None:
        raise HeadsMissing(
            "the standard vector did not answer in time, so hits have no score",
            f"a score for each hit, to compare with min_score = {min_score:g}",
            "ask again with more time, or without min_score",
        )
    bm25 = scores.bm25
    documents = []
    for hit in hits:
        passages = _scored(votes, hit)
        columns = [scores.column_of[chunk] for chunk in passages]
        cosine = None if scores.cosines is None else _max(scores.cosines[:, columns])
        if min_score is not None and (cosine is None or cosine < min_score):
            continue
        documents.append(
            FoundDocument(
                hit,
                rows[hit.chunk_ids[0]],
                cosine=cosine,
                bm25=None if bm25 is None else max(bm25.get(chunk, 0.0) for chunk in passages),
                answered={
                    chunk: _answered(near, column, levels)
                    for chunk, column in zip(passages, columns, strict=True)
                },
            )
        )
    found = []
    for number, aspect in enumerate(aspects):
        best = None if near is None else _max(near[number])
        verdict = None
        if levels is not None and near is not None:
            verdict = "nothing here" if best is None else levels.verdict(best)
        found.append(AspectFound(aspect.text, aspect.start, aspect.end, best, verdict))
    return documents, found


def unscored(
    votes: Votes, hits: Sequence[Hit], rows: Mapping[int, ChunkRow]
) -> tuple[list[FoundDocument], list[AspectFound]]:
    """The hits and aspects of a question that wants no scores."""
    found = [FoundDocument(hit, rows[hit.chunk_ids[0]]) for hit in hits]
    aspects = [
        AspectFound(aspect.text, aspect.start, aspect.end, None, None) for aspect in _aspects(votes)
    ]
    return found, aspects


def _ranking_of(votes: Votes, voter: str) -> Ranking | None:
    """What a voter ranked for all windows; None if it did not vote."""
    if voter not in votes.voters:
        return None
    row = votes.voters.index(voter)
    return Ranking(votes.rankings.ids[row], votes.rankings.scores[row])


def _scored(votes: Votes, hit: Hit) -> tuple[int, ...]:
    """The hit's passages that are scored, its best first: also each that may be shown instead."""
    passages = hit.chunk_ids[:_PASSAGES]
    if votes.plan.question.passages:
        passages = tuple(dict.fromkeys((*passages, *window_passages(votes.rankings, hit))))
    return passages


def _nearest(votes: Votes) -> NDArray[np.int64]:
    """The passages nearest to each window by the standard vector, if the strategy searched it."""
    ranking = _ranking_of(votes, STANDARD)
    if ranking is None:
        return np.zeros(0, np.int64)
    ids = ranking.ids[:, :_NEAREST]
    nearest: NDArray[np.int64] = ids[ids >= 0]
    return nearest


def _aspects(votes: Votes) -> tuple[Aspect, ...]:
    """The question's aspects, also those whose windows got no vote: nothing may be near them."""
    embedded = votes.plan.question.embedded
    return embedded.aspects or (whole_aspect(embedded.windows),)


def _fill(
    cosines: NDArray[np.float64], column_of: Mapping[int, int], ranking: Ranking | None
) -> None:
    """Writes a ranking's scores of these passages into the (W, P) cosines."""
    if ranking is None:
        return
    for row, (ids, scores) in enumerate(
        zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True)
    ):
        for chunk, cosine in zip(ids, scores, strict=True):
            if chunk in column_of:
                cosines[row, column_of[chunk]] = cosine


def _best(ranking: Ranking) -> dict[int, float]:
    """Each passage's best score over the windows."""
    best: dict[int, float] = {}
    for ids, scores in zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True):
        for chunk, score in zip(ids, scores, strict=True):
            if chunk >= 0:
                best[chunk] = max(score, best.get(chunk, 0.0))
    return best


def _answered(
    near: NDArray[np.float64] | None, column: int, levels: Levels | None
) -> tuple[int, ...]:
    """The aspects that a passage is near enough to be a source of."""
    if near is None or levels is None:
        return ()
    return tuple(np.flatnonzero(near[:, column] >= levels.weak).tolist())  # NaN: it is not


def _max(values: NDArray[np.float64]) -> float | None:
    """The greatest that is known; None if none is."""
    known = values[~np.isnan(values)]
    return float(known.max()) if known.size else None
