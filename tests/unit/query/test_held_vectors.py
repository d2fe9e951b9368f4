"""Vectors in memory: the rankings are exact search's, and what is not held is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec, SearchRequest
from mrag_pipeline.query import held_vectors
from mrag_pipeline.query.held_vectors import HeldIndex, HeldVectors
from tests.support.fake_staging import table_of
from tests.support.index_rows import TEXTS, texts

DIM = 8


# All that is read of a record; its collections hold vectors alone.
RECORD: Any = SimpleNamespace(
    encoder=SimpleNamespace(head_dim=DIM, standard_dim=TEXTS.dim),
    head_collections=lambda: ["docs_v0123456789ab_l00_h00", "docs_v0123456789ab_l00_h01"],
    chunks_collection=lambda: TEXTS.name,
)
HEAD = RECORD.head_collections()[0]


def random_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def held_of(ids: Sequence[int], vectors: NDArray[np.float32]) -> tuple[HeldVectors, ExactIndex]:
    index = ExactIndex("docs")
    for name in RECORD.head_collections():
        index.load(CollectionSpec(name, "head", DIM), [table_of(list(ids), vectors)])
    names = [f"d{number}" for number in range(len(ids))]
    index.load(TEXTS, [texts(names, chunk_id=list(ids))])
    return HeldVectors.read(index, RECORD), index


@pytest.mark.parametrize("count", [1, 5, 300, 3_000])
@pytest.mark.parametrize("limit", [1, 7, 64])
def test_rankings_are_those_of_exact_search(
    count: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few rows and many, shallow and deep, more queries than fit into a block."""
    monkeypatch.setattr(held_vectors, "_BLOCK_NUMBERS", 8 * count)
    ids = np.random.default_rng(3).permutation(10 * count)[:count]
    held, _ = held_of(ids.tolist(), random_vectors(count) * 3)
    queries = random_vectors(20, seed=1)
    ours = held.search(SearchRequest(HEAD, queries, limit))
    exact = top_k(ids, random_vectors(count), queries, limit)
    np.testing.assert_array_equal(ours.ids, exact.ids)
    np.testing.assert_allclose(ours.scores, exact.scores, atol=2e-6)


def test_equal_vectors_are_ranked_by_the_smaller_id() -> None:
    """Whatever place they were read in, and however far down they stand."""
    same = np.repeat(random_vectors(2), 500, axis=0)
    ids = np.random.default_rng(4).permutation(1_000)
    held, _ = held_of(ids.tolist(), same)
    ranking = held.search(SearchRequest(HEAD, same[:1], 60))
    assert ranking.ids[0].tolist() == sorted(ids[:500].tolist())[:60]


def test_a_zero_query_is_similar_to_nothing() -> None:
    """Every row has the score 0."""
    held, _ = held_of([3, 1, 2], random_vectors(3))
    ranking = held.search(SearchRequest(HEAD, np.zeros((1, DIM), np.float32), 3))
    assert ranking.ids.tolist() == [[1, 2, 3]]
    assert ranking.scores.tolist() == [[0, 0, 0]]


def test_only_the_wanted_ids_are_searched() -> None:
    """Unknown ids are left out, also those beyond the last; a short ranking is padded."""
    vectors = random_vectors(50)
    held, _ = held_of(range(100, 150), vectors)
    among = np.array([149, 3, 120, 101, 120, 999], np.int64)
    ranking = held.search(SearchRequest(HEAD, vectors[[20]], 5, among))
    assert ranking.ids[0, 0] == 120
    assert sorted(ranking.ids[0].tolist()) == [-1, -1, 101, 120, 149]
    nothing = held.search(SearchRequest(HEAD, vectors[[20]], 5, np.zeros(0, np.int64)))
    assert nothing.ids.tolist() == [[-1] * 5]


def test_an_empty_collection_gives_nothing() -> None:
    """A version may have no rows left."""
    held, _ = held_of([], random_vectors(0))
    assert held.search(SearchRequest(HEAD, random_vectors(2), 3)).ids.tolist() == [[-1] * 3] * 2


def test_what_is_not_held_is_asked_in_its_place() -> None:
    """In the order of the requests, with a time limit and without."""
    held, index = held_of(range(5), random_vectors(5))
    other = "docs_v0123456789ab_l09_h09"
    index.load(CollectionSpec(other, "head", DIM), [table_of([77], random_vectors(1))])
    joint = HeldIndex(index, held)
    requests = [SearchRequest(name, random_vectors(1), 1) for name in (other, HEAD, other)]
    for rankings in (joint.search(requests), joint.search_within(requests, 10.0)):
        ids = [None if ranking is None else int(ranking.ids[0, 0]) for ranking in rankings]
        assert ids == [77, 0, 77]
    late = joint.search_within(requests, 0.0)
    assert [ranking is None for ranking in late] == [True, False, True]


def test_documents_are_known_and_rows_are_read() -> None:
    """Of those that exist; a look-up reads no row, another collection's is the index's own."""
    held, index = held_of([5, 6], random_vectors(2))
    joint = HeldIndex(index, held)
    assert joint.look_up(TEXTS.name, [6, 5, 99], [5]) == ({6: "d1", 5: "d0"}, {})
    index.delete(TEXTS.name, [5])
    assert joint.look_up(TEXTS.name, [5], []) == ({5: "d0"}, {})
    assert joint.chunks(TEXTS.name, [5, 6]).keys() == {6}
    other = replace(TEXTS, name="docs_vba9876543210_chunks")
    index.load(other, [texts(["x"])])
    assert joint.look_up(other.name, [1], [1]) == index.look_up(other.name, [1], [1])


def test_rows_that_come_or_go_make_it_incomplete() -> None:
    """In any of the collections."""
    held, index = held_of(range(5), random_vectors(5))
    assert held.is_complete(index)
    index.delete(RECORD.head_collections()[1], [3])
    assert not held.is_complete(index)
