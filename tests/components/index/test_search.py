"""Searches that are late or fail, with a scripted client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import pytest
from pymilvus import MilvusException

from mrag_pipeline.errors import IndexUnavailable, NoLiveVersion
from mrag_pipeline.index.milvus.direct_answers import Late
from mrag_pipeline.index.milvus.direct_calls import DirectSearch
from mrag_pipeline.index.milvus.search import CollectionSearches
from mrag_pipeline.ports import Ranking, SearchRequest, TextSearchRequest
from mrag_pipeline.settings.milvus import MilvusSpec

THREADS = 4

T = TypeVar("T")


class Hits:
    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self.distances = [1.0 - at / 100 for at in range(len(ids))]

    def __len__(self) -> int:
        return len(self.ids)


class Client:
    """Answers each query with its row's number; hangs or fails for the named collections."""

    def __init__(self) -> None:
        self.hangs: set[str] = set()
        self.failures: dict[str, Exception] = {}
        self.release = threading.Event()
        self.calls: list[tuple[str, int, float]] = []

    def search(self, name: str, *, data: list[Any], timeout: float, **_: Any) -> list[Hits]:
        self.calls.append((name, len(data), timeout))
        if name in self.hangs:
            assert self.release.wait(60)
        if name in self.failures:
            raise self.failures[name]
        return [Hits([int(row[0])]) for row in data]


class Directly:
    """Answers each query with its row's number, negated; late or without an answer if scripted."""

    def __init__(self) -> None:
        self.late: set[str] = set()
        self.nothing: set[str] = set()
        self.calls: list[tuple[str, int, float, int]] = []

    def search(
        self, calls: Sequence[DirectSearch], timeout_s: float, at_once: int
    ) -> list[Ranking | Late | None]:
        self.calls += [(one.collection, len(one.vectors), timeout_s, at_once) for one in calls]
        return [self._answer(call) for call in calls]

    def _answer(self, call: DirectSearch) -> Ranking | Late | None:
        if call.collection in self.late:
            return Late.LATE
        if call.collection in self.nothing:
            return None
        ids = -call.vectors[:, :1].astype(np.int64)
        return Ranking(ids, np.ones(ids.shape, np.float32))


class Silent:
    """Leaves everything to pymilvus."""

    def search(
        self, calls: Sequence[DirectSearch], timeout_s: float, at_once: int
    ) -> list[Ranking | Late | None]:
        return [None] * len(calls)


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.release.set()


def no_words(request: TextSearchRequest, timeout_s: float) -> Ranking:
    raise AssertionError("these tests search vectors only")


def in_memory(collection: str, read: Callable[[], T]) -> T:
    return read()


def searches(client: Any, num_threads: int = THREADS, direct: Any = None) -> CollectionSearches:
    asked = direct or Silent()
    spec = MilvusSpec(timeout_s=30)
    return CollectionSearches(
        client, asked, spec, "FLAT", num_threads, in_memory, lambda _: "float32", no_words
    )


def request(name: str, *rows: int, width: int = 2, limit: int = 1) -> SearchRequest:
    return SearchRequest(name, np.array([[row] * width for row in rows], np.float32), limit)


@pytest.mark.parametrize("num_threads", [1, THREADS])
def test_a_late_search_gives_none_and_the_others_answer(client: Client, num_threads: int) -> None:
    """The call returns after the given time, not when the late search ends."""
    client.hangs = {"slow"}
    index = searches(client, num_threads)
    began = time.monotonic()
    found = index.search_within([request("a", 1), request("b", 2), request("slow", 3)], 0.5)
    assert 0.4 < time.monotonic() - began < 5
    assert [None if one is None else one.ids.tolist() for one in found] == [[[1]], [[2]], None]
    assert all(0.4 < timeout <= 0.5 for _, _, timeout in client.calls)


@pytest.mark.parametrize("num_threads", [1, THREADS])
def test_hanging_searches_do_not_block_the_next(client: Client, num_threads: int) -> None:
    """Even if every thread hangs forever."""
    client.hangs = {"slow"}
    index = searches(client, num_threads)
    late = index.search_within([request("slow", 1)] * 3 * THREADS, 0.2)
    assert late == [None] * 3 * THREADS
    began = time.monotonic()
    [found] = index.search_within([request("a", 7)], 20.0)
    assert time.monotonic() - began < 5
    assert found is not None
    assert found.ids.tolist() == [[7]]
    assert index.search([request("a", 7), request("b", 8)])[1].ids.tolist() == [[8]]
    # What was queued behind the hanging ones is never asked.
    assert sum(name == "slow" for name, _, _ in client.calls) == num_threads
    index.close()


def test_an_unreachable_server_is_a_missing_head_or_an_error(client: Client) -> None:
    """If others answer, the collection is missing; if none answers, the server is unavailable."""
    client.failures = {"down": MilvusException(code=2, message="no server")}
    index = searches(client)
    found = index.search_within([request("a", 1), request("down", 2)], 5.0)
    assert found[0] is not None
    assert found[1] is None
    with pytest.raises(IndexUnavailable, match="down"):
        index.search_within([request("down", 1), request("down", 2)], 5.0)


def test_a_missing_collection_is_raised(client: Client) -> None:
    """A missing collection is an error, not a slow head."""
    client.failures = {"gone": MilvusException(code=100, message="collection not found")}
    with pytest.raises(NoLiveVersion, match="gone"):
        searches(client).search_within([request("a", 1), request("gone", 2)], 5.0)


def test_many_vectors_are_several_calls(client: Client) -> None:
    """No call exceeds the server's limit; the answers keep their order."""
    index = searches(client)
    [wide] = index.search([request("a", *range(40), width=131_072)])
    assert wide.ids[:, 0].tolist() == list(range(40))
    assert [size for _, size, _ in client.calls] == [32, 8]
    client.calls.clear()
    [deep] = index.search([request("a", *range(300), limit=16_384)])
    assert deep.ids[:, 0].tolist() == list(range(300))
    assert [size for _, size, _ in client.calls] == [122, 122, 56]


def ids_of(found: Sequence[Ranking | None]) -> list[Any]:
    return [None if one is None else one.ids.tolist() for one in found]


def test_a_collection_is_asked_directly_once_pymilvus_has_searched_it(client: Client) -> None:
    """The first search may load it; later ones need no thread and no retry."""
    direct = Directly()
    index = searches(client, direct=direct)
    assert ids_of(index.search([request("a", 1), request("b", 2)])) == [[[1]], [[2]]]
    assert direct.calls == []
    client.calls.clear()
    assert ids_of(index.search([request("a", 1), request("b", 2, 3)])) == [[[-1]], [[-2], [-3]]]
    assert direct.calls == [("a", 1, 30, THREADS), ("b", 2, 30, THREADS)]
    assert ids_of(index.search_within([request("a", 4)], 0.5)) == [[[-4]]]
    assert direct.calls[-1] == ("a", 1, 0.5, THREADS)
    assert client.calls == []


def test_pymilvus_makes_the_calls_without_a_direct_answer(client: Client) -> None:
    """Only those calls, with their answers in order, within the remaining time."""
    direct = Directly()
    index = searches(client, direct=direct)
    three = [request("a", 1), request("b", 2), request("c", 3)]
    index.search(three)
    client.calls.clear()
    direct.nothing = {"b"}
    assert ids_of(index.search(three)) == [[[-1]], [[2]], [[-3]]]
    assert ids_of(index.search_within(three, 0.5)) == [[[-1]], [[2]], [[-3]]]
    assert [name for name, _, _ in client.calls] == ["b", "b"]
    assert 29 < client.calls[0][2] <= 30
    assert 0.4 < client.calls[1][2] <= 0.5


def test_a_late_direct_call_is_not_repeated(client: Client) -> None:
    """Its time is over: an error for a plain search, a missing head within a time limit."""
    direct = Directly()
    index = searches(client, direct=direct)
    index.search([request("a", 1), request("slow", 2)])
    client.calls.clear()
    direct.late = {"slow"}
    assert ids_of(index.search_within([request("a", 1), request("slow", 2)], 5)) == [[[-1]], None]
    with pytest.raises(IndexUnavailable, match="slow"):
        index.search([request("a", 1), request("slow", 2)])
    assert client.calls == []


def test_many_vectors_are_several_direct_calls(client: Client) -> None:
    """No call exceeds the server's limit; the answers keep their order."""
    direct = Directly()
    index = searches(client, direct=direct)
    index.search([request("a", 1)])
    client.calls.clear()
    [wide] = index.search([request("a", *range(40), width=131_072)])
    assert wide.ids[:, 0].tolist() == [-row for row in range(40)]
    assert [size for _, size, _, _ in direct.calls] == [32, 8]
    assert client.calls == []


def test_a_search_among_no_ids_sends_no_call(client: Client) -> None:
    """No id can match, so no call is needed."""
    direct = Directly()
    index = searches(client, direct=direct)
    index.search([request("a", 1)])
    client.calls.clear()
    none = SearchRequest("a", np.ones((2, 2), np.float32), 3, np.array([], np.int64))
    [found] = index.search([none])
    assert found.ids.tolist() == [[-1] * 3] * 2
    assert client.calls == direct.calls == []
