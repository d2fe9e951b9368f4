from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrag_pipeline.domain.heads import Embeddings, Role
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import AnySearchRequest, ChunkRow, Ranking, SearchRequest
from mrag_pipeline.stages.evaluate.shared_work import SharedEncoder, SharedIndex
from tests.support.fake_encoder import FakeEncoder


class CountingEncoder(FakeEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        self.encoded += texts
        return super().encode(texts, role)


class CountingIndex(ExactIndex):
    """Answers row i of a search with ids i, i+1, ... and counts the rows."""

    def __init__(self) -> None:
        super().__init__("toy")
        self.rows = 0
        self.looked_up: list[int] = []

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        rankings = []
        for request in requests:
            assert isinstance(request, SearchRequest)
            self.rows += len(request.vectors)
            first = request.vectors[:, :1].astype(np.int64)
            ids = first + np.arange(request.limit)[None]
            rankings.append(Ranking(ids, -ids.astype(np.float32)))
        return rankings

    def documents(self, collection: str, ids: Sequence[int]) -> dict[int, str]:
        return {row.id: row.document_id for row in self.chunks(collection, ids).values()}

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        self.looked_up += ids
        return {i: ChunkRow(i, f"d{i}", 0, 0, 1, "", "", {}) for i in ids if i > 0}


def vectors(*firsts: int) -> np.ndarray:
    return np.array([[first, 1.0] for first in firsts], np.float32)


def test_a_text_is_embedded_once_and_the_same() -> None:
    """Of two strategies with the same windows, the second gets the first's vectors."""
    counting = CountingEncoder()
    shared = SharedEncoder(counting)
    first = shared.encode(["a cat", "a dog"], "query")
    second = shared.encode(["a dog", "a fox", "a cat", "a dog"], "query")
    assert counting.encoded == ["a cat", "a dog", "a fox"]
    alone = FakeEncoder().encode(["a dog", "a fox", "a cat", "a dog"], "query")
    np.testing.assert_array_equal(second.heads, alone.heads)
    np.testing.assert_array_equal(second.standard, alone.standard)
    np.testing.assert_array_equal(second.num_tokens, alone.num_tokens)
    np.testing.assert_array_equal(first.heads, second.heads[[2, 0]])


def test_a_query_is_not_a_document() -> None:
    """The two roles may have different prefixes."""
    counting = CountingEncoder()
    shared = SharedEncoder(counting)
    shared.encode(["a"], "query")
    shared.encode(["a"], "document")
    assert counting.encoded == ["a", "a"]


def test_no_text_gives_no_row() -> None:
    """An empty batch has the encoder's shape."""
    assert SharedEncoder(CountingEncoder()).encode([], "query").heads.shape == (0, 4, 8)


def test_a_vector_is_searched_once_in_each_collection() -> None:
    """Only new vectors are searched; the order of the request is kept."""
    counting = CountingIndex()
    shared = SharedIndex(counting)
    shared.search([SearchRequest("h0", vectors(1, 2), 3), SearchRequest("h1", vectors(1), 3)])
    [ranking] = shared.search([SearchRequest("h0", vectors(5, 2, 1), 3)])
    assert counting.rows == 4
    assert ranking.ids.tolist() == [[5, 6, 7], [2, 3, 4], [1, 2, 3]]
    assert ranking.scores.shape == (3, 3)


def test_a_longer_ranking_serves_a_shorter_one_but_not_the_other_way() -> None:
    """Fewer hits are a prefix; more need a new search."""
    counting = CountingIndex()
    shared = SharedIndex(counting)
    shared.search([SearchRequest("h0", vectors(1), 3)])
    [short] = shared.search([SearchRequest("h0", vectors(1), 2)])
    assert (short.ids.tolist(), counting.rows) == ([[1, 2]], 1)
    [long] = shared.search([SearchRequest("h0", vectors(1), 4)])
    assert (long.ids.tolist(), counting.rows) == ([[1, 2, 3, 4]], 2)


def test_rows_are_looked_up_once_missing_ones_too() -> None:
    """That an id has no row is remembered too."""
    counting = CountingIndex()
    shared = SharedIndex(counting)
    assert set(shared.chunks("c", [1, 0])) == {1}
    assert set(shared.chunks("c", [0, 2, 1])) == {1, 2}
    assert counting.looked_up == [1, 0, 2]


def test_forgetting_starts_anew() -> None:
    """Memory holds one query's work, not all queries'."""
    counting, counting_index = CountingEncoder(), CountingIndex()
    encoder, index = SharedEncoder(counting), SharedIndex(counting_index)
    for _ in range(2):
        encoder.encode(["a"], "query")
        index.search([SearchRequest("h0", vectors(1), 1)])
        encoder.forget()
        index.forget()
    assert (counting.encoded, counting_index.rows) == (["a", "a"], 2)
