"""What the run's own process does is counted as the work of a node."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.errors import IndexUnavailable
from mrag_pipeline.runtime import usage
from mrag_pipeline.runtime.counted_work import CountedWork, count_retry
from mrag_pipeline.runtime.pools import phase_pools
from mrag_pipeline.runtime.usage import DRIVER, NodeUsage
from mrag_pipeline.stages.serial_pool import SerialPool
from mrag_pipeline.stages.thread_pool import Stopped

A_WHILE_S = 0.01


@dataclass(frozen=True)
class Item:
    """Of so many bytes."""

    index: int
    num_bytes: int


def taking_a_while(item: Item) -> int:
    time.sleep(A_WHILE_S)
    return item.index


def counted(work: Callable[[], object]) -> NodeUsage:
    """What the driver has done since."""
    before = usage.total()
    work()
    return usage.total().since(before).nodes[DRIVER]


def test_items_bytes_and_seconds_are_counted() -> None:
    """Of a phase that no worker does."""
    items = [Item(0, 10), Item(1, 32)]

    def phase() -> None:
        pools = phase_pools(Config(), lambda _: lambda item: item)
        assert list(pools(taking_a_while, 42).run(items)) == [0, 1]

    done = counted(phase)
    assert (done.workers, done.items, done.num_bytes, done.errors) == (1, 2, 42, 0)
    assert done.busy_s >= 2 * A_WHILE_S


@dataclass(frozen=True)
class Answer:
    """Of so many rows."""

    num_rows: int


@pytest.mark.parametrize(
    ("answer", "num_rows"),
    [(Answer(7), 7), ([Answer(7), Answer(0), Answer(2)], 9), (["a", "b"], 2), ([], 0), (5, 0)],
)
def test_rows_are_those_that_the_answer_tells(answer: object, num_rows: int) -> None:
    """A list is one of answers that tell, or of rows."""
    done = counted(lambda: CountedWork(lambda _: answer)(Item(0, 10)))
    assert (done.items, done.num_rows) == (1, num_rows)


def test_a_second_try_here_is_a_retry_of_the_driver() -> None:
    """After an error that may pass."""
    tries: list[int] = []

    def fails_once(item: Item) -> str:
        tries.append(item.index)
        if len(tries) == 1:
            raise IndexUnavailable("gone")
        return "done"

    def phase() -> None:
        pool = SerialPool(lambda: CountedWork(fails_once), attempts=2, on_retry=count_retry)
        assert list(pool.run([Item(0, 10)])) == ["done"]

    done = counted(phase)
    assert (done.items, done.errors, done.retries, done.num_bytes) == (2, 1, 1, 10)


@pytest.mark.parametrize(("error", "errors"), [(IndexUnavailable("gone"), 1), (Stopped(), 0)])
def test_an_item_that_fails_is_an_error(error: Exception, errors: int) -> None:
    """Its bytes are not counted; one that stops because another failed is no error more."""

    def fails(_: Any) -> None:
        raise error

    def phase() -> None:
        with pytest.raises(type(error)):
            CountedWork(fails)(Item(0, 10))

    done = counted(phase)
    assert (done.num_bytes, done.errors) == (0, errors)
