"""Every shard goes to a worker once; a file that cannot be entered is read from its start."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.dispatch import ItemQueue, Pace, reads_on
from mrag_pipeline.domain.planning import Shard, Slice, SliceUnit


def a_file(path: str, count: int, first: int = 0, unit: SliceUnit = "records") -> list[Shard]:
    """A file cut into `count` shards of ten records, or bytes."""
    return [
        Shard(first + i, (Slice(path, unit, 10 * i, 10 * i + 10, 100, "s"),)) for i in range(count)
    ]


def taken(queue: ItemQueue, order: list[int]) -> dict[int, list[int]]:
    """The shards that each worker gets if the workers take turns in this order."""
    shards_by_worker: dict[int, list[int]] = {worker: [] for worker in order}
    last: dict[int, Shard] = {}
    while len(queue):
        for worker in order[: len(queue)]:
            last[worker] = queue.take(last.get(worker))
            shards_by_worker[worker].append(last[worker].index)
    return shards_by_worker


def jumps(shards: list[int]) -> int:
    """How often a worker did not read on where it stopped."""
    return sum(after != before + 1 for before, after in pairwise(shards))


def test_shards_of_seekable_files_are_taken_in_order() -> None:
    """Whichever worker asks: each can seek to a byte."""
    queue = ItemQueue(a_file("a", 6, unit="bytes"))
    assert taken(queue, [1, 2]) == {1: [0, 2, 4], 2: [1, 3, 5]}


def test_a_worker_reads_on_where_it_stopped() -> None:
    """Two compressed files and two workers: a file each, from its start to its end."""
    queue = ItemQueue(a_file("a", 3) + a_file("b", 3, first=3))
    assert taken(queue, [1, 2]) == {1: [0, 1, 2], 2: [3, 4, 5]}


def test_two_workers_share_one_file_by_halves() -> None:
    """The second begins in the middle of what is left, and both go on in order."""
    queue = ItemQueue(a_file("a", 9))
    assert taken(queue, [1, 2]) == {1: [0, 1, 2, 3, 4], 2: [5, 6, 7, 8]}


def test_a_shard_that_is_put_back_is_taken_next() -> None:
    """The first worker to ask gets it; the run it came from follows."""
    queue = ItemQueue(a_file("a", 4))
    first = queue.take(None)
    queue.put_back(first)
    assert len(queue) == 4
    assert queue.take(None) == first
    assert [queue.take(first).index, len(queue)] == [1, 2]


def test_items_that_are_added_later_are_read_on_to() -> None:
    """Also when all that were there have been taken, or are shared by halves."""
    shards = a_file("a", 8)
    queue = ItemQueue(shards[:1])
    first = queue.take(None)
    for shard in shards[1:5]:
        queue.add(shard)
    second = queue.take(None)  # another worker begins in the middle
    for shard in shards[5:]:
        queue.add(shard)
    assert second.index == 3
    assert [queue.take(first).index, queue.take(second).index] == [1, 4]
    assert [queue.take(shards[4]).index, queue.take(shards[1]).index] == [5, 2]
    assert len(queue) == 2


def test_taking_from_an_empty_queue_is_an_error() -> None:
    """IndexError, as from an empty list."""
    with pytest.raises(IndexError):
        ItemQueue([]).take(None)


def test_a_shard_reads_on_from_the_one_before_it_in_the_same_file() -> None:
    """The file is unchanged, and the shard starts at the record where the last one stopped."""
    first, second, third = a_file("a", 3)
    assert reads_on(first, second)
    assert not reads_on(first, third)
    assert not reads_on(first, a_file("b", 2)[1])
    assert not reads_on(*a_file("a", 2, unit="bytes"))
    other = Shard(1, (Slice("a", "records", 10, 20, 100, "changed"),))
    assert not reads_on(first, other)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=8),
    st.integers(1, 6),
    st.integers(0, 30),
    st.randoms(use_true_random=False),
)
def test_every_shard_comes_out_once(
    files: list[tuple[int, bool]], workers: int, at_first: int, random: object
) -> None:
    """Whatever the files, the workers, their turns, what is put back and what is added later."""
    shards: list[Shard] = []
    for number, (count, whole) in enumerate(files):
        unit: SliceUnit = "bytes" if whole else "records"
        shards += a_file(f"f{number}", count, first=len(shards), unit=unit)
    queue = ItemQueue(shards[:at_first])
    coming = iter(shards[at_first:])
    last: dict[int, Shard] = {}
    done: list[int] = []
    put_back: set[int] = set()
    while len(queue) or at_first < len(shards):
        if not len(queue) or random.random() < 0.5:  # type: ignore[attr-defined]
            for shard in islice(coming, 2):
                queue.add(shard)
                at_first += 1
            if not len(queue):
                break
        worker = random.randrange(workers)  # type: ignore[attr-defined]
        before = len(queue)
        shard = last[worker] = queue.take(last.get(worker))
        assert len(queue) == before - 1
        if shard.index not in put_back and random.random() < 0.2:  # type: ignore[attr-defined]
            put_back.add(shard.index)
            queue.put_back(shard)
        else:
            done.append(shard.index)
    assert sorted(done) == [shard.index for shard in shards]


@given(st.integers(1, 200), st.integers(1, 8))
def test_workers_jump_rarely_in_a_large_file(count: int, workers: int) -> None:
    """Equally fast workers jump about once each, not once per shard."""
    shards_by_worker = taken(ItemQueue(a_file("a", count)), list(range(workers)))
    assert sum(jumps(shards) for shards in shards_by_worker.values()) <= 2 * workers


def a_pace(*seconds: float, factor: float = 3.0) -> Pace:
    pace = Pace(factor)
    for shard, shard_seconds in zip(a_file("a", len(seconds)), seconds, strict=True):
        pace.add(shard, shard_seconds)
    return pace


def test_late_is_a_multiple_of_the_median() -> None:
    """One slow shard does not change the median."""
    [shard] = a_file("b", 1)
    pace = a_pace(1, 1, 1, 60, 1)
    assert not pace.is_late(shard, 3.0)
    assert pace.is_late(shard, 3.1)


def test_a_larger_shard_may_take_longer() -> None:
    """Times are compared per source byte."""
    pace = a_pace(1, 1, 1)
    large = Shard(9, (Slice("b", "bytes", 0, 1000, 1000, "s"),))
    assert not pace.is_late(large, 29)
    assert pace.is_late(large, 31)


def test_a_shard_is_not_called_late_on_little_evidence() -> None:
    """Before three are finished, below two seconds, and where the config says never."""
    [shard] = a_file("b", 1)
    assert not a_pace(1, 1).is_late(shard, 1000)
    assert not a_pace(0.01, 0.01, 0.01).is_late(shard, 1.9)
    assert a_pace(0.01, 0.01, 0.01).is_late(shard, 2.1)
    assert not a_pace(1, 1, 1, factor=0).is_late(shard, 1000)
