"""Figures of voters and of groups of voters, with their intervals, from neighbours and words.

Shape legend: V voters, S sampled chunks, k neighbours of a chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.head_study import FieldStudy, GroupStudy, HeadsMinusPieces, Kind
from mrag_pipeline.domain.neighbours import (
    Neighbours,
    effective_number,
    only_found,
    overlap,
    overlap_matrix,
)
from mrag_pipeline.domain.shared_words import Preferences, Words, agreements, dealt, preferences
from mrag_pipeline.domain.success import LEVEL, SEED, Interval

RESAMPLES = 2_000  # of chunks, or of voters: a study has many intervals


@dataclass(frozen=True, slots=True, eq=False)
class Voter:
    """A voter and its neighbours."""

    name: str
    kind: Kind
    neighbours: Neighbours


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredVoter:
    """A voter's figures, chunk by chunk; NaN where a chunk has none."""

    voter: Voter
    only_found: NDArray[np.bool_]  # (S, k)
    agreement: NDArray[np.float64]  # (S,) with all its neighbours
    agreement_only_found: NDArray[np.float64]  # (S,)
    agreement_dealt: NDArray[np.float64]  # (S,)

    def only_found_shares(self) -> NDArray[np.float64]:
        """(S,): the share of a chunk's neighbours that no other voter has; 0.0 without any."""
        hits = self.voter.neighbours.is_hit.sum(axis=1)
        shares: NDArray[np.float64] = self.only_found.sum(axis=1) / np.maximum(hits, 1)
        return shares

    def above_chance(self) -> NDArray[np.float64]:
        """(S,): agreement with neighbours that only it finds, minus that with dealt ones."""
        return self.agreement_only_found - self.agreement_dealt


def measure(
    voter: Voter, others: Sequence[Voter], words: Words, sample: Sequence[int], seed: int
) -> MeasuredVoter:
    """A voter's figures beside the others of its group, the standard vector and BM25."""
    own = voter.neighbours
    alone = only_found(own, [other.neighbours for other in others])
    shuffled = dealt(own, seed)
    return MeasuredVoter(
        voter,
        alone,
        agreements(words, sample, own, own.is_hit),
        agreements(words, sample, own, alone),
        agreements(words, sample, shuffled, shuffled.is_hit),
    )


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredGroup:
    """Heads, or pieces, as they were measured."""

    voters: Sequence[MeasuredVoter]
    preferences: Preferences
    repeatability: NDArray[np.float64] | None  # (V,)
    preference: NDArray[np.float64] | None  # (V,)
    study: GroupStudy

    def overlaps(self) -> NDArray[np.float64]:
        """(S,): a chunk's mean Jaccard index over the pairs of voters."""
        own = [measured.voter.neighbours for measured in self.voters]
        pairs = [overlap(own[i], own[j]) for i in range(len(own)) for j in range(i)]
        return np.mean(pairs, axis=0) if pairs else np.ones(len(own[0].documents))

    def above_chance(self) -> NDArray[np.float64]:
        """(S,): the mean over the voters that found something alone for the chunk; else NaN."""
        return _mean_of_known(np.array([measured.above_chance() for measured in self.voters]))

    def only_found(self) -> NDArray[np.float64]:
        """(S,): the mean over the voters."""
        mean: NDArray[np.float64] = np.mean(
            [measured.only_found_shares() for measured in self.voters], axis=0
        )
        return mean


def measure_group(
    voters: Sequence[Voter],
    beside: Sequence[Voter],
    words: Words,
    sample: Sequence[int],
    alignments: NDArray[np.float64],
    seed: int,
) -> MeasuredGroup:
    """All figures of heads, or of pieces.

    Args:
        beside: voters of other kinds: what they have too is not only found.
        alignments: (V, V) CKA of each two voters' vectors.
    """
    measured = [
        measure(voter, [*(v for v in voters if v is not voter), *beside], words, sample, seed)
        for voter in voters
    ]
    similarity = overlap_matrix([voter.neighbours for voter in voters])
    preferred = preferences(words, sample, [voter.neighbours for voter in voters])
    repeated = preferred.repeatability(seed)
    means = _mean_of_known(np.array([one.above_chance() for one in measured]))
    intervals = [interval(one.above_chance()) for one in measured]
    study = GroupStudy(
        len(voters),
        mean_off_diagonal(similarity),
        effective_number(similarity),
        mean_off_diagonal(alignments),
        effective_number(alignments),
        float(np.mean([one.only_found_shares().mean() for one in measured])),
        interval(means),
        sum(own is not None and own.low > 0 for own in intervals),
        None if repeated is None else float(repeated.own.mean()),
        None if repeated is None else float(repeated.size.mean()),
        None if repeated is None else repeated.recognised,
    )
    return MeasuredGroup(
        measured,
        preferred,
        None if repeated is None else repeated.own,
        None if repeated is None else repeated.size,
        study,
    )


def compare(heads: MeasuredGroup, pieces: MeasuredGroup) -> HeadsMinusPieces:
    """Heads minus pieces: paired by chunk, or where a figure is a voter's, resampled by voter."""
    overlaps = interval(heads.overlaps() - pieces.overlaps())
    alone = interval(heads.only_found() - pieces.only_found())
    assert overlaps is not None
    assert alone is not None
    return HeadsMinusPieces(
        overlaps,
        alone,
        interval(heads.above_chance() - pieces.above_chance()),
        _difference_of_means(heads.repeatability, pieces.repeatability),
        _difference_of_means(heads.preference, pieces.preference),
    )


def field_study(
    field: str,
    heads: Sequence[Voter],
    pieces: Sequence[Voter],
    others: Sequence[Voter],
    sample: Sequence[int],
    values: Mapping[int, Any],
    seed: int,
) -> FieldStudy:
    """How pure each voter's neighbours are by a field that at least four sampled chunks have.

    Args:
        values: of the sampled chunks and all neighbours, by chunk id; hashable; None: has none.
    """
    with_value = [row for row, chunk_id in enumerate(sample) if values[chunk_id] is not None]
    own = [values[sample[row]] for row in with_value]

    def purities(neighbours: Neighbours) -> NDArray[np.float64]:
        shares = np.zeros(len(with_value))
        for place, row in enumerate(with_value):
            chunks = neighbours.chunks[row, neighbours.is_hit[row]].tolist()
            same = sum(values[chunk] == own[place] for chunk in chunks)
            shares[place] = same / max(1, len(chunks))
        return shares

    of_heads = np.array([purities(voter.neighbours) for voter in heads])
    of_pieces = np.array([purities(voter.neighbours) for voter in pieces])
    of_others = [purities(voter.neighbours) for voter in others]
    chance = np.mean([purities(dealt(voter.neighbours, seed)).mean() for voter in heads])
    # One half chooses the leader, the other measures it: the best of many is not best by luck.
    order = np.random.default_rng(seed).permutation(len(with_value))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    leader = int(of_heads[:, first].mean(axis=1).argmax())
    best_piece = int(of_pieces[:, first].mean(axis=1).argmax())
    followers = np.delete(of_heads[:, second], leader, axis=0).mean(axis=0)
    lead = interval(of_heads[leader, second] - followers)
    over_pieces = interval(of_heads[leader, second] - of_pieces[best_piece, second])
    assert lead is not None
    assert over_pieces is not None
    named = zip(
        [voter.name for voter in (*heads, *others, *pieces)],
        [*of_heads, *of_others, *of_pieces],
        strict=True,
    )
    return FieldStudy(
        field,
        len(with_value),
        len(set(own)),
        {name: known for name, shares in named if (known := interval(shares)) is not None},
        float(chance),
        _spread(of_heads[:, first], of_heads[:, second]),
        _spread(of_pieces[:, first], of_pieces[:, second]),
        heads[leader].name,
        lead,
        over_pieces,
    )


def interval(values: NDArray[np.float64]) -> Interval | None:
    """The mean of the values that are known, with its interval; None if under two are."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return None
    drawn = _drawn_means(known, np.random.default_rng(SEED))
    return _percentiles(float(known.mean()), drawn)


def mean_off_diagonal(matrix: NDArray[np.float64]) -> float:
    """The mean of a square matrix without its diagonal."""
    return float(matrix[~np.eye(len(matrix), dtype=bool)].mean())


def _mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each column's values that are not NaN; NaN if all are."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0)
    mean: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def _spread(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The voters' standard deviation, from two halves of the chunks: their noise cancels."""
    covariance = np.cov(first.mean(axis=1), second.mean(axis=1))[0, 1]
    return float(np.sqrt(max(0.0, covariance)))


def _difference_of_means(
    heads: NDArray[np.float64] | None, pieces: NDArray[np.float64] | None
) -> Interval | None:
    if heads is None or pieces is None:
        return None
    random = np.random.default_rng(SEED)
    drawn = _drawn_means(heads, random) - _drawn_means(pieces, random)
    return _percentiles(float(heads.mean() - pieces.mean()), drawn)


def _drawn_means(values: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """The mean of each bootstrap resample of the values: (RESAMPLES,)."""
    means: NDArray[np.float64] = values[
        random.integers(0, len(values), (RESAMPLES, len(values)))
    ].mean(axis=1)
    return means


def _percentiles(value: float, drawn: NDArray[np.float64]) -> Interval:
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))
