"""Results come in order, read ahead of time by a bounded number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, Event, Lock

import pytest

from mrag_pipeline.stages.ingest.read_ahead import read_ahead

PATIENCE_S = 30


def test_results_come_in_order_whichever_is_read_first() -> None:
    """The first item is read last of four; its result comes first all the same."""
    is_fourth_read = Event()

    def read(number: int) -> int:
        if number == 0:
            assert is_fourth_read.wait(PATIENCE_S)
        if number == 3:
            is_fourth_read.set()
        return number

    assert list(read_ahead(read, range(40), 4)) == list(range(40))
    assert list(read_ahead(str, [], 4)) == []


def test_reads_overlap_and_no_more_run_than_there_are_threads() -> None:
    """Six at once, never seven: what they read is in memory."""
    lock, together = Lock(), Barrier(6)
    num_running = most_running = 0

    def read(number: int) -> int:
        nonlocal num_running, most_running
        with lock:
            num_running += 1
            most_running = max(most_running, num_running)
        together.wait(PATIENCE_S)
        with lock:
            num_running -= 1
        return number

    assert list(read_ahead(read, range(24), 6)) == list(range(24))
    assert most_running == 6


def test_a_slow_consumer_holds_back_the_reading() -> None:
    """After one result, one more item than there are threads has been taken."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = read_ahead(str, items(), 5)
    assert next(results) == "0"
    assert taken == list(range(6))
    results.close()  # type: ignore[attr-defined]


def test_the_first_error_ends_it() -> None:
    """It is raised unchanged, in order; later items are never read."""
    read_items: list[int] = []

    def read(number: int) -> int:
        read_items.append(number)
        if number == 3:
            raise ValueError("the fourth")
        return number

    results = read_ahead(read, range(1_000), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(results)
    assert len(read_items) < 10
