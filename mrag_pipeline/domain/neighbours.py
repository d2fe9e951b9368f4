"""How the neighbours that several voters find for the same chunks relate to each other.

A chunk's neighbours are the nearest other documents, each by its nearest chunk. Documents are
numbers here: equal numbers mean the same document.

Shape legend: V voters, S sampled chunks, k neighbours of a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """One voter's neighbours, nearest first; rows with fewer than k are padded with -1."""

    documents: NDArray[np.int64]  # (S, k) numbers, each once in a row
    chunks: NDArray[np.int64]  # (S, k) chunk ids: the nearest chunk of each document

    @property
    def is_hit(self) -> NDArray[np.bool_]:
        """(S, k): where there is a neighbour, no padding."""
        return self.documents >= 0


def overlap(voter: Neighbours, other: Neighbours) -> NDArray[np.float64]:
    """The Jaccard index of the two voters' neighbours: (S,), 0 to 1; 1.0 if neither has any."""
    shared = also_in(voter, [other]).sum(axis=1)
    either = voter.is_hit.sum(axis=1) + other.is_hit.sum(axis=1) - shared
    ratio: NDArray[np.float64] = np.where(either == 0, 1.0, shared / np.maximum(either, 1))
    return ratio


def overlap_matrix(voters: Sequence[Neighbours]) -> NDArray[np.float64]:
    """The mean Jaccard index of each two voters: (V, V), symmetric, 1 on the diagonal."""
    matrix = np.eye(len(voters))
    for row in range(len(voters)):
        for column in range(row):
            mean = float(overlap(voters[row], voters[column]).mean())
            matrix[row, column] = matrix[column, row] = mean
    return matrix


def also_in(voter: Neighbours, others: Sequence[Neighbours]) -> NDArray[np.bool_]:
    """(S, k): which of the voter's neighbours any other has for the same chunk."""
    shared = np.zeros(voter.documents.shape, bool)
    for other in others:
        for column in range(other.documents.shape[1]):
            shared |= voter.documents == other.documents[:, column, None]
    return shared & voter.is_hit


def only_found(voter: Neighbours, others: Sequence[Neighbours]) -> NDArray[np.bool_]:
    """(S, k): which of the voter's neighbours no other has for the same chunk."""
    return voter.is_hit & ~also_in(voter, others)


def effective_number(similarity: NDArray[np.float64]) -> float:
    """How many different voters a similarity matrix amounts to: V if none shares, 1 if all do.

    The participation ratio of its eigenvalues, (sum l)^2 / sum l^2, which for a symmetric matrix
    is trace^2 / sum of squares.

    Args:
        similarity: (V, V), symmetric, 1 on the diagonal.
    """
    return float(np.trace(similarity) ** 2 / np.sum(similarity**2))


@dataclass(frozen=True, slots=True)
class Hub:
    """The document that is a neighbour of the most chunks, and how uneven neighbours are."""

    document: int  # its number; -1 if there are no neighbours
    chunk_id: int
    share: float  # of the sampled chunks that have it as a neighbour
    skewness: float  # of the number of chunks that a document is a neighbour of


def hub(voter: Neighbours, num_documents: int) -> Hub:
    """A voter's hub, and the skewness of its k-occurrences.

    Args:
        num_documents: of the whole corpus; those that are no neighbour count as 0.
    Source: Radovanovic et al., Hubs in Space, JMLR 2010.
    """
    hits = voter.documents[voter.is_hit]
    if not len(hits):
        return Hub(-1, -1, 0.0, 0.0)
    documents, counts = np.unique(hits, return_counts=True)
    document = int(documents[np.argmax(counts)])
    chunk = voter.chunks[voter.documents == document]
    mean = counts.sum() / num_documents
    absent = max(0, num_documents - len(counts))
    variance = (np.sum((counts - mean) ** 2) + absent * mean**2) / num_documents
    third = (np.sum((counts - mean) ** 3) - absent * mean**3) / num_documents
    skewness = float(third / variance**1.5) if variance > 0 else 0.0
    chunk_ids, times = np.unique(chunk, return_counts=True)
    share = float(counts.max() / len(voter.documents))
    return Hub(document, int(chunk_ids[np.argmax(times)]), share, skewness)


def alignment(vectors: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """How alike two spaces arrange the same rows: linear CKA, debiased; 1 if alike, about 0 if not.

    Looks at all distances, not only at the nearest. 0.0 for fewer than 4 rows or no spread.

    Args:
        vectors: (S, D); rows are taken at unit length.
        others: (S, D'), the same rows in the other space.
    Source: Kornblith et al., ICML 2019; Song et al., JMLR 2012 (the unbiased HSIC).
    """
    if len(vectors) < 4:
        return 0.0
    left, right = _centred(vectors), _centred(others)
    norm = _hsic(left, left) * _hsic(right, right)
    return float(_hsic(left, right) / np.sqrt(norm)) if norm > 0 else 0.0


def _centred(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = wide / np.where(norms == 0, 1.0, norms)
    centred: NDArray[np.float64] = unit - unit.mean(axis=0)
    return centred


def _hsic(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """The unbiased estimate with linear kernels whose diagonals are left out, times n (n - 3)."""
    n = len(left)
    left_diagonal, right_diagonal = np.sum(left**2, axis=1), np.sum(right**2, axis=1)
    left_rows = left @ left.sum(axis=0) - left_diagonal
    right_rows = right @ right.sum(axis=0) - right_diagonal
    trace = np.sum((left.T @ right) ** 2) - left_diagonal @ right_diagonal
    means = left_rows.sum() * right_rows.sum() / ((n - 1) * (n - 2))
    return float(trace + means - 2.0 / (n - 2) * (left_rows @ right_rows))
