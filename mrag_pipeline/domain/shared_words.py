"""What neighbours have in common in their words: evidence that no vector has a part in.

Two texts agree as far as they share words, rare ones counting more. A voter's *preference* for a
word is how much more often than the other voters' its neighbours keep it, when a chunk has it:
0.2 for `socket` means that of the neighbours of chunks with `socket` 20 % more have it too. A
preference that is found again in other chunks is the voter's own, not noise.

Shape legend: V voters, S sampled chunks, k neighbours of a chunk, W words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.neighbours import Neighbours

SPLITS = 20  # of the sample into halves
_IN_HALF = 3  # chunks with a word that a half needs for it to count
_SHRINKAGE = 0.3  # of a preference's strength: a word of few chunks has to be clearer
_FEWEST_WORDS = 10
_CLEAR = 2.0  # strength of a preference that is shown


class Words:
    """The words of texts by chunk id, and what sharing one is worth."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._of: dict[int, frozenset[int]] = {}
        self._worth: list[float] = []  # inverse document frequency, by word number
        self._totals: dict[int, float] = {}

    def add(self, chunk_id: int, words: set[str]) -> None:
        """Takes a text's words; the same chunk twice is once."""
        numbers = self._numbers
        self._of[chunk_id] = frozenset(numbers.setdefault(word, len(numbers)) for word in words)

    def weigh(self) -> None:
        """Counts how rare each word is in what was added; call it after the last `add`."""
        counts = np.zeros(len(self._numbers))
        for words in self._of.values():
            counts[list(words)] += 1
        self._worth = np.log(len(self._of) / np.maximum(counts, 1)).tolist()
        self._totals = {
            chunk_id: sum(self._worth[word] for word in words)
            for chunk_id, words in self._of.items()
        }

    def __contains__(self, chunk_id: int) -> bool:
        return chunk_id in self._of

    def names(self) -> list[str]:
        """The words by number."""
        return list(self._numbers)

    def of(self, chunk_id: int) -> frozenset[int]:
        """A text's words, as numbers."""
        return self._of[chunk_id]

    def worth(self, word: int) -> float:
        """Inverse document frequency: ln(texts / texts with the word)."""
        return self._worth[word]

    def agreement(self, chunk_id: int, other: int) -> float:
        """The worth of the shared words over that of all words of the two: 0 to 1."""
        shared = sum(self._worth[word] for word in self._of[chunk_id] & self._of[other])
        either = self._totals[chunk_id] + self._totals[other] - shared
        return shared / either if either > 0 else 0.0


def agreements(
    words: Words, sample: Sequence[int], voter: Neighbours, chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Each chunk's mean agreement with its chosen neighbours: (S,), NaN where none is chosen.

    Args:
        sample: S chunk ids.
        chosen: (S, k).
    """
    means = np.full(len(sample), np.nan)
    for row, chunk_id in enumerate(sample):
        others = voter.chunks[row, chosen[row]].tolist()
        if others:
            means[row] = sum(words.agreement(chunk_id, other) for other in others) / len(others)
    return means


def dealt(voter: Neighbours, seed: int) -> Neighbours:
    """The same lists of neighbours dealt to other chunks: what hubs and chance alone would share.

    No list comes back to its own chunk; one that holds the chunk's own document may be dealt to it.
    """
    size = len(voter.documents)
    order = np.random.default_rng(seed).permutation(size)
    dealt_from = np.empty(size, np.int64)
    dealt_from[order] = np.roll(order, 1)  # a single cycle: no chunk keeps its list
    return Neighbours(voter.documents[dealt_from], voter.chunks[dealt_from])


@dataclass(frozen=True, slots=True)
class WordPreference:
    """How a voter treats one word."""

    word: str
    chunks: int  # sampled ones that have the word
    kept: float  # share of this voter's neighbours of those chunks that have it too
    kept_by_others: float  # the same, mean over the other voters
    strength: float  # the preference over its own noise; no unit, signed


@dataclass(frozen=True, slots=True, eq=False)
class Preferences:
    """V voters' preferences for words, sampled chunk by sampled chunk."""

    names: Sequence[str]  # W words
    num_voters: int
    # Of each chunk: its words that enough chunks have (w,); the share of neighbours that keep
    # each, by voter (V, w).
    kept: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]]

    def repeatability(self, seed: int) -> Repeatability | None:
        """How far preferences found in one half of the sample are found in the other.

        None if there are fewer than two voters, or too few words that several chunks have.
        """
        if self.num_voters < 2:
            return None
        random = np.random.default_rng(seed)
        own = np.zeros((SPLITS, self.num_voters))
        cross, size, known = np.zeros(SPLITS), np.zeros_like(own), np.zeros_like(own)
        for split in range(SPLITS):
            rows = random.permutation(len(self.kept))
            middle = len(rows) // 2
            halves = [self._means(part) for part in (rows[:middle], rows[middle:])]
            common = (halves[0][1] >= _IN_HALF) & (halves[1][1] >= _IN_HALF)
            if common.sum() < _FEWEST_WORDS:
                return None
            first, second = (means[:, common] for means, _ in halves)
            matrix = _correlations(first, second)
            own[split] = np.diag(matrix)
            others = ~np.eye(self.num_voters, dtype=bool)
            cross[split] = matrix[others].mean()
            # The mean product of two independent estimates has no noise of its own.
            size[split] = np.mean(first * second, axis=1)
            known[split] = matrix.argmax(axis=1) == np.arange(self.num_voters)
        return Repeatability(
            own.mean(axis=0),
            np.sqrt(np.maximum(size.mean(axis=0), 0.0)),
            float(cross.mean()),
            float(known.mean()),
        )

    def strongest(
        self, voter: int, limit: int
    ) -> tuple[list[WordPreference], list[WordPreference]]:
        """The words that a voter keeps most clearly, and those that it passes over."""
        total = np.zeros(len(self.names))
        squares, counts, kept, others = (np.zeros_like(total) for _ in range(4))
        for words, shares in self.kept:
            of_others = _mean_of_others(shares)[voter]
            gap = shares[voter] - of_others
            total[words] += gap
            squares[words] += gap**2
            counts[words] += 1
            kept[words] += shares[voter]
            others[words] += of_others
        enough = np.flatnonzero(counts >= 2 * _IN_HALF)
        strength = total[enough] / (np.sqrt(squares[enough]) + _SHRINKAGE)
        order = np.argsort(-strength, kind="stable")

        def shown(positions: NDArray[np.intp]) -> list[WordPreference]:
            chosen = ((int(enough[i]), float(strength[i])) for i in positions)
            return [
                WordPreference(
                    self.names[word],
                    int(counts[word]),
                    float(kept[word] / counts[word]),
                    float(others[word] / counts[word]),
                    value,
                )
                for word, value in chosen
            ]

        keeps = [preference for preference in shown(order[:limit]) if preference.strength > _CLEAR]
        passes = [p for p in shown(order[::-1][:limit]) if p.strength < -_CLEAR]
        return keeps, passes

    def _means(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Mean preferences (V, W) over some chunks, and how many of them have each word (W,)."""
        total = np.zeros((self.num_voters, len(self.names)))
        counts = np.zeros(len(self.names), np.int64)
        for row in rows.tolist():
            words, shares = self.kept[row]
            total[:, words] += shares - _mean_of_others(shares)
            counts[words] += 1
        return total / np.maximum(counts, 1), counts


@dataclass(frozen=True, slots=True, eq=False)
class Repeatability:
    """How much of the voters' preferences is their own."""

    own: NDArray[np.float64]  # (V,) correlation of each one's two halves: 1 all own, 0 all noise
    size: NDArray[np.float64]  # (V,) how far a preference is from 0, noise taken off: a share
    cross: float  # mean correlation with another voter's half
    recognised: float  # share of voters whose half is nearest to their own other half


def preferences(words: Words, sample: Sequence[int], voters: Sequence[Neighbours]) -> Preferences:
    """What each voter's neighbours keep of the words of the sampled chunks.

    Args:
        sample: S chunk ids.
        voters: V, of one kind: each is compared with the mean of the others.
    """
    in_sample = Counter(word for chunk_id in sample for word in words.of(chunk_id))
    common = {word for word, count in in_sample.items() if count >= 2 * _IN_HALF}
    number_of = {word: number for number, word in enumerate(sorted(common))}
    all_names = words.names()
    kept = []
    for row, chunk_id in enumerate(sample):
        own = sorted(words.of(chunk_id) & common)
        shares = np.zeros((len(voters), len(own)))
        places = {word: place for place, word in enumerate(own)}
        for number, voter in enumerate(voters):
            found = voter.chunks[row, voter.is_hit[row]].tolist()
            for shared in _shared(words, chunk_id, found):
                for word in shared:
                    if word in places:
                        shares[number, places[word]] += 1
            shares[number] /= max(1, len(found))
        kept.append((np.array([number_of[word] for word in own], np.int64), shares))
    return Preferences([all_names[word] for word in sorted(common)], len(voters), kept)


def words_of_pair(
    words: Words, chunk_id: int, neighbour: int, others: Sequence[int], limit: int
) -> list[str]:
    """The rarest words that two chunks share and at most a quarter of the others share too.

    Args:
        others: chunks that other voters call near to the first.
    """
    counts: Mapping[int, int] = Counter(
        word for shared in _shared(words, chunk_id, others) for word in shared
    )
    own = [
        word
        for word in words.of(chunk_id) & words.of(neighbour)
        if 4 * counts.get(word, 0) <= len(others)
    ]
    names = words.names()
    own.sort(key=lambda word: (-words.worth(word), names[word]))
    return [names[word] for word in own[:limit]]


def _shared(words: Words, chunk_id: int, others: Sequence[int]) -> Iterator[frozenset[int]]:
    own = words.of(chunk_id)
    return (own & words.of(other) for other in others)


def _mean_of_others(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(V, w): the mean over the voters but one."""
    others: NDArray[np.float64] = (shares.sum(axis=0) - shares) / (len(shares) - 1)
    return others


def _correlations(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(V, V): the correlation of each row with each row; 0 where a row has no spread."""
    left = first - first.mean(axis=1, keepdims=True)
    right = second - second.mean(axis=1, keepdims=True)
    norms = np.outer(np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1))
    matrix: NDArray[np.float64] = np.zeros_like(norms)
    np.divide(left @ right.T, norms, out=matrix, where=norms > 0)
    return matrix
