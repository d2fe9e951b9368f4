"""Searches that are late, or fail, over a client that does as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusException

from mrag_pipeline.errors import IndexUnavailable, NoLiveVersion
from mrag_pipeline.index.searching import Searches
from mrag_pipeline.index.spec import MilvusSpec
from mrag_pipeline.ports import SearchRequest

THREADS = 4


class Hits:
    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self.distances = [1.0 - at / 100 for at in range(len(ids))]

    def __len__(self) -> int:
        return len(self.ids)


class Client:
    """Answers each query with its row's number; hangs or fails for collections told to."""

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


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.release.set()


def searches(client: Any, num_threads: int = THREADS) -> Searches:
    spec = MilvusSpec(timeout_s=30)
    return Searches(client, spec, "FLAT", num_threads, lambda _: None, lambda _: "float32")


def request(name: str, *rows: int, width: int = 2, limit: int = 1) -> SearchRequest:
    return SearchRequest(name, np.array([[row] * width for row in rows], np.float32), limit)


@pytest.mark.parametrize("num_threads", [1, THREADS])
def test_what_is_late_is_none_and_the_rest_is_there(client: Client, num_threads: int) -> None:
    """After the time that was given, not after the time that the late one takes."""
    client.hangs = {"slow"}
    index = searches(client, num_threads)
    began = time.monotonic()
    found = index.search_within([request("a", 1), request("b", 2), request("slow", 3)], 0.5)
    assert 0.4 < time.monotonic() - began < 5
    assert [None if one is None else one.ids.tolist() for one in found] == [[[1]], [[2]], None]
    assert {timeout for _, _, timeout in client.calls} == {0.5}


@pytest.mark.parametrize("num_threads", [1, THREADS])
def test_hanging_searches_do_not_hold_up_the_next(client: Client, num_threads: int) -> None:
    """Even if every thread there was hangs, and for ever."""
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
    """One that others reach is missing; one that nobody reaches is unavailable."""
    client.failures = {"down": MilvusException(code=2, message="no server")}
    index = searches(client)
    found = index.search_within([request("a", 1), request("down", 2)], 5.0)
    assert found[0] is not None
    assert found[1] is None
    with pytest.raises(IndexUnavailable, match="down"):
        index.search_within([request("down", 1), request("down", 2)], 5.0)


def test_what_no_waiting_helps_is_raised(client: Client) -> None:
    """A collection that is not there is no slow head."""
    client.failures = {"gone": MilvusException(code=100, message="collection not found")}
    with pytest.raises(NoLiveVersion, match="gone"):
        searches(client).search_within([request("a", 1), request("gone", 2)], 5.0)


def test_many_vectors_are_several_calls(client: Client) -> None:
    """No call larger than a server takes; the answers in order."""
    index = searches(client)
    [wide] = index.search([request("a", *range(40), width=131_072)])
    assert wide.ids[:, 0].tolist() == list(range(40))
    assert [size for _, size, _ in client.calls] == [32, 8]
    client.calls.clear()
    [deep] = index.search([request("a", *range(300), limit=16_384)])
    assert deep.ids[:, 0].tolist() == list(range(300))
    assert [size for _, size, _ in client.calls] == [122, 122, 56]
