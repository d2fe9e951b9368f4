"""Items in threads of this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Barrier, Event
from typing import Any

import pytest

from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.stages.thread_pool import Stopped, ThreadPool


@dataclass(frozen=True)
class Item:
    index: int
    num_bytes: int = 0


class Work:
    """Answers with the item's number, or does as it is told."""

    def __init__(self) -> None:
        self.stopped = Event()

    def __call__(self, item: Item) -> int:
        return item.index

    def stop(self) -> None:
        self.stopped.set()


@pytest.mark.parametrize("num_threads", [1, 3])
def test_items_of_a_generator_are_taken_as_they_are_needed(num_threads: int) -> None:
    """Two for each thread wait at most, however many there are."""
    taken: list[int] = []

    def items() -> Iterator[Item]:
        for number in range(50):
            taken.append(number)
            yield Item(number)

    answers = []
    for answer in ThreadPool(Work(), num_threads).run(items()):
        answers.append(answer)
        assert len(taken) <= len(answers) + 2 * num_threads
    assert sorted(answers) == list(range(50))


def test_items_are_done_at_the_same_time() -> None:
    """As many as there are threads."""
    together = Barrier(3, timeout=30)

    class Meeting(Work):
        def __call__(self, item: Item) -> int:
            together.wait()
            return item.index

    assert sorted(ThreadPool(Meeting(), 3).run(Item(n) for n in range(6))) == list(range(6))


def test_the_first_error_stops_all() -> None:
    """What runs is told, what waits is not begun; the error is the item's own."""
    begun: list[int] = []

    class Failing(Work):
        def __call__(self, item: Item) -> Any:
            begun.append(item.index)
            if item.index == 0:
                raise IndexUnavailable("no answer")
            assert self.stopped.wait(30)
            raise Stopped

    with pytest.raises(IndexUnavailable):
        list(ThreadPool(Failing(), 2).run(Item(n) for n in range(100)))
    assert len(begun) <= 2


def test_an_error_of_the_plan_ends_the_threads() -> None:
    """As a full disk from which items' ids are read."""

    def items() -> Iterator[Item]:
        yield Item(0)
        raise OSError("gone")

    work = Work()
    with pytest.raises(OSError, match="gone"):
        list(ThreadPool(work, 2).run(items()))
    assert work.stopped.is_set()
