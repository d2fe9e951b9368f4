"""Overlap, what only one finds, effective numbers, hubs and alignment, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mrag_pipeline.domain.neighbours import (
    Neighbours,
    alignment,
    also_in,
    effective_number,
    hub,
    only_found,
    overlap,
    overlap_matrix,
)


def found(*rows: list[int]) -> Neighbours:
    """Neighbours of one chunk for each document."""
    documents = np.array(rows, np.int64)
    return Neighbours(documents, np.where(documents >= 0, documents + 100, -1))


def test_equal_neighbours_overlap_fully() -> None:
    """Their order does not count."""
    assert overlap(found([1, 2, 3]), found([3, 1, 2])).tolist() == [1.0]


def test_overlap_is_the_shared_over_all() -> None:
    """Two shared of four; padding is nothing that is shared."""
    assert overlap(found([1, 2, 3], [1, -1, -1]), found([2, 3, 4], [2, -1, -1])).tolist() == [
        0.5,
        0.0,
    ]


def test_two_empty_lists_overlap_fully() -> None:
    """No neighbour at all, twice, is the same."""
    assert overlap(found([-1, -1]), found([-1, -1])).tolist() == [1.0]


def test_only_found_is_what_no_other_has() -> None:
    """Row by row: the same document beside another chunk does not count."""
    own = found([1, 2, 3], [1, 2, -1])
    others = [found([3, 4, 5], [7, 8, 9]), found([9, 2, 8], [1, 5, 6])]
    assert only_found(own, others).tolist() == [[True, False, False], [False, True, False]]
    assert also_in(own, others).tolist() == [[False, True, True], [True, False, False]]


def test_equal_voters_are_one_and_strangers_count_each() -> None:
    """Four equal ones amount to 1, four that share nothing to 4."""
    same = [found([1, 2])] * 4
    apart = [found([2 * number, 2 * number + 1]) for number in range(4)]
    assert effective_number(overlap_matrix(same)) == pytest.approx(1.0)
    assert effective_number(overlap_matrix(apart)) == pytest.approx(4.0)


def test_the_effective_number_is_the_participation_ratio_of_the_eigenvalues() -> None:
    """The trace and the sum of squares give the same as the eigenvalues themselves."""
    matrix = np.array([[1.0, 0.6, 0.1], [0.6, 1.0, 0.3], [0.1, 0.3, 1.0]])
    values = np.linalg.eigvalsh(matrix)
    assert effective_number(matrix) == pytest.approx(values.sum() ** 2 / np.sum(values**2))


def test_a_hub_is_the_document_that_most_chunks_have() -> None:
    """Document 7 is near to three of four chunks, by its chunk 107."""
    voter = found([7, 1], [2, 7], [7, 3], [4, 5])
    own = hub(voter, num_documents=10)
    assert (own.document, own.chunk_id, own.share) == (7, 107, 0.75)
    counts = np.array([1, 1, 1, 1, 1, 3, 0, 0, 0, 0])
    third = np.mean((counts - counts.mean()) ** 3)
    assert own.skewness == pytest.approx(third / counts.std() ** 3)


def test_no_neighbours_have_no_hub() -> None:
    """An index of one document has no other."""
    assert hub(found([-1], [-1]), 1).document == -1


def test_a_rotated_space_is_the_same_space() -> None:
    """CKA sees distances, not axes."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(60, 6))
    rotation, _ = np.linalg.qr(random.normal(size=(6, 6)))
    assert alignment(vectors, vectors @ rotation) == pytest.approx(1.0)


def test_unrelated_spaces_align_about_zero() -> None:
    """Debiased: also with as many dimensions as a third of the rows."""
    random = np.random.default_rng(1)
    values = [
        alignment(random.normal(size=(60, 20)), random.normal(size=(60, 20))) for _ in range(30)
    ]
    assert abs(np.mean(values)) < 0.02


def test_alignment_is_that_of_the_kernel_matrices() -> None:
    """The features' form of the unbiased HSIC equals the definition over n x n kernels."""
    random = np.random.default_rng(2)
    left, right = random.normal(size=(20, 5)), random.normal(size=(20, 3))

    def kernel(vectors: np.ndarray) -> np.ndarray:
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        centred = unit - unit.mean(axis=0)
        gram = centred @ centred.T
        np.fill_diagonal(gram, 0.0)
        return gram

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        n = len(a)
        means = a.sum() * b.sum() / ((n - 1) * (n - 2))
        cross = 2.0 / (n - 2) * (a.sum(axis=0) @ b.sum(axis=0))
        return float(np.trace(a @ b) + means - cross)

    a, b = kernel(left), kernel(right)
    expected = hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b))
    assert alignment(left, right) == pytest.approx(expected)
