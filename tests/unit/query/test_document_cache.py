"""The cache of chunk-to-document look-ups is limited in time and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrag_pipeline.query.document_cache import DocumentCache
from tests.support.clock import Clock

SECONDS = 60.0


class Rows:
    """Has documents for the ids below 1,000; records the ids of each call."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def look_up(self, collection: str, ids: Sequence[int], likely: Sequence[int]) -> Any:
        self.calls.append(list(ids))
        rows = {chunk_id: f"row {chunk_id}" for chunk_id in likely}
        documents = {chunk_id: f"{collection} {chunk_id}" for chunk_id in ids if chunk_id < 1000}
        return documents, rows


def a_cache(max_documents: int = 1_000) -> tuple[DocumentCache, Rows, Clock]:
    rows, clock = Rows(), Clock()
    return DocumentCache(rows, SECONDS, max_documents, clock), rows, clock  # type: ignore[arg-type]


def test_a_cached_document_is_not_looked_up_again() -> None:
    """Collections are kept apart; rows are read every time."""
    cache, rows, _ = a_cache()
    assert cache.look_up("a", [1, 2], [1]) == ({1: "a 1", 2: "a 2"}, {1: "row 1"})
    assert cache.look_up("a", [2, 3, 1], [2])[0] == {2: "a 2", 3: "a 3", 1: "a 1"}
    assert cache.look_up("a", [3], [3]) == ({3: "a 3"}, {3: "row 3"})
    assert cache.look_up("b", [1], [])[0] == {1: "b 1"}
    assert rows.calls == [[1, 2], [3], [], [1]]


def test_a_missing_chunk_is_looked_up_each_time() -> None:
    """A sync may add it."""
    cache, rows, _ = a_cache()
    for _ in range(2):
        assert cache.look_up("a", [5000, 1], [])[0] == {1: "a 1"}
    assert rows.calls == [[5000, 1], [5000]]


def test_no_entry_is_used_longer_than_its_time() -> None:
    """However often it is used meanwhile; each entry lives for at least half of that time."""
    cache, rows, clock = a_cache()
    read_at, lifetimes = clock.now, []
    for _ in range(61):
        clock.now += 5.0
        num_calls = len(rows.calls)
        cache.look_up("a", [1], [])
        if rows.calls[num_calls]:
            lifetimes.append(clock.now - read_at)
            read_at = clock.now
    assert all(SECONDS / 2 <= lifetime <= SECONDS for lifetime in lifetimes[1:])
    clock.now += 10 * SECONDS
    cache.look_up("a", [1], [])
    assert rows.calls[-1] == [1]


def test_the_cache_holds_no_more_than_its_limit() -> None:
    """The entries read last stay."""
    cache, rows, _ = a_cache(max_documents=100)
    for start in range(0, 900, 10):
        cache.look_up("a", list(range(start, start + 10)), [])
        assert len(cache._new) + len(cache._old) <= 110
    cache.look_up("a", list(range(890, 900)), [])
    assert rows.calls[-1] == []


def test_forgetting_starts_anew() -> None:
    """Used when the index has changed."""
    cache, rows, _ = a_cache()
    cache.look_up("a", [1], [])
    cache.forget()
    cache.look_up("a", [1], [])
    assert rows.calls == [[1], [1]]
