"""Vectors in memory: the rankings are exact search's, and what is not held is asked."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import CollectionSpec, SearchRequest
from mrag_pipeline.query import held_rows
from mrag_pipeline.query.held_rows import HeldRows
from mrag_pipeline.query.held_vectors import HeldIndex, HeldVectors, lost_rows
from tests.support.fake_staging import table_of
from tests.support.index_rows import TEXTS, texts

DIM = 8


HEADS = ["docs_v0123456789ab_l00_h00", "docs_v0123456789ab_l00_h01"]
HEAD = HEADS[0]


def a_record(num_chunks: int) -> Any:
    """All that is read of a record."""
    return SimpleNamespace(
        num_chunks=num_chunks,
        encoder=SimpleNamespace(head_dim=DIM, standard_dim=TEXTS.dim),
        head_collections=lambda: HEADS,
        chunks_collection=lambda: TEXTS.name,
    )


def random_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def held_of(ids: Sequence[int], vectors: NDArray[np.float32]) -> tuple[HeldVectors, ExactIndex]:
    index = ExactIndex("docs")
    for name in HEADS:
        index.load(CollectionSpec(name, "head", DIM), [table_of(list(ids), vectors)])
    names = [f"d{number}" for number in range(len(ids))]
    index.load(TEXTS, [texts(names, chunk_id=list(ids))])
    held = HeldVectors.read(index, a_record(len(ids)))
    assert held is not None
    return held, index


@pytest.mark.parametrize("count", [1, 5, 300, 3_000])
@pytest.mark.parametrize("limit", [1, 7, 64])
def test_rankings_are_those_of_exact_search(
    count: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few rows and many, shallow and deep, more queries than fit into a block."""
    monkeypatch.setattr(held_rows, "_BLOCK_NUMBERS", 8 * count)
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


@pytest.mark.parametrize("limit", [1, 7, 64])
@pytest.mark.parametrize("num_wanted", [0, 1, 59, 61, 300, 2_900])
def test_few_wanted_ids_and_many_give_the_same_as_exact_search(num_wanted: int, limit: int) -> None:
    """Few are copied, many are searched with the others (3,000 rows)."""
    vectors = random_vectors(3_000)
    held, _ = held_of(range(3_000), vectors)
    among = np.random.default_rng(5).permutation(3_000)[:num_wanted]
    queries = random_vectors(9, seed=1)
    ours = held.search(SearchRequest(HEAD, queries, limit, among))
    rows = np.sort(among)
    exact = top_k(rows, vectors[rows], queries, limit)
    np.testing.assert_array_equal(ours.ids, exact.ids)


def test_the_wanted_ids_of_a_question_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All its collections have the same rows; another question's are others."""
    held, index = held_of(range(50), random_vectors(50))
    looked_for: list[list[int]] = []
    places = HeldRows.places

    def counted(rows: HeldRows, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        looked_for.append(ids.tolist())
        return places(rows, ids)

    monkeypatch.setattr(HeldRows, "places", counted)
    first, second = np.array([3, 9]), np.array([4])
    requests = [
        SearchRequest(name, random_vectors(1), 1, among)
        for among in (first, second)
        for name in HEADS
    ]
    rankings = HeldIndex(index, held).search(requests)
    assert looked_for == [[3, 9], [4]]
    assert [int(ranking.ids[0, 0]) in (3, 9) for ranking in rankings] == [True, True, False, False]


@pytest.mark.parametrize("name", [*HEADS, TEXTS.name])
def test_a_collection_that_lacks_a_row_is_not_held(name: str) -> None:
    """Its searches would be worse, and nobody would know."""
    _, index = held_of(range(5), random_vectors(5))
    record = a_record(5)
    assert lost_rows(index, record) is None
    index.delete(name, [3])
    assert lost_rows(index, record) == f"{name} has 4 rows, its version 5 chunks"
    with pytest.raises(VerifyFailed, match=name):
        HeldVectors.read(index, record)


def test_a_collection_with_a_row_of_no_chunk_is_not_held() -> None:
    """Though it has as many rows as there are chunks."""
    _, index = held_of(range(5), random_vectors(5))
    index.delete(HEADS[1], [3])
    index.upsert(CollectionSpec(HEADS[1], "head", DIM), table_of([2**40], random_vectors(1)))
    assert lost_rows(index, a_record(5)) is None
    with pytest.raises(VerifyFailed, match="a row of no chunk"):
        HeldVectors.read(index, a_record(5))


def test_a_read_stops_between_two_blocks() -> None:
    """A process that ends does not wait for all of them."""
    _, index = held_of(range(5), random_vectors(5))
    asked: list[int] = []

    def is_stopped() -> bool:
        asked.append(1)
        return len(asked) > 2

    assert HeldVectors.read(index, a_record(5), is_stopped) is None
    assert len(asked) == 3


def test_reading_takes_little_more_than_what_is_kept() -> None:
    """Each block is put into its place as it arrives."""
    count = 20_000
    held_of(range(1), random_vectors(1))  # what is imported late is not counted
    index = ExactIndex("docs")
    spec = CollectionSpec(HEAD, "head", 64)
    vectors = np.random.default_rng(0).normal(size=(count, 64)).astype(np.float32)
    index.load(spec, [table_of(list(range(count)), vectors)])
    ids = np.arange(count)
    tracemalloc.start()
    rows = HeldRows.empty(ids, 64)
    for block_ids, block in index.vector_blocks(spec):
        assert rows.put(block_ids, block)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * kept
    assert rows.is_full()
