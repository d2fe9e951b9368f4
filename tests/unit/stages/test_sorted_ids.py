"""Sorted ids are the same in memory and on disk, and small where they wait."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.sampling import sampled_places
from mrag_pipeline.stages import sorted_ids
from mrag_pipeline.stages.sorted_ids import IdBlock, SortedIds, lacking, range_numbers

IDS = np.random.default_rng(3).integers(0, 2**63, 5_000, dtype=np.int64)
IN_MEMORY = pytest.mark.parametrize("ids_in_memory", [10**6, 700, 3])


def in_blocks(ids: np.ndarray, size: int = 600) -> Iterator[np.ndarray]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


@pytest.fixture
def limited(ids_in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_ids, "_IDS_IN_MEMORY", ids_in_memory)


@IN_MEMORY
@pytest.mark.usefixtures("limited")
def test_ids_are_rising_and_there_once() -> None:
    """Also those that came twice, which are named; negative ids, which nothing of ours has, too."""
    wanted = np.unique([*IDS, -5, -1, 0, 2**63 - 1])
    with closing(
        SortedIds([*in_blocks(IDS), IDS[[7, 30]], np.array([-1, 2**63 - 1, -5, 0, 0])])
    ) as ids:
        assert len(ids) == len(wanted)
        assert np.array_equal(np.concatenate(list(ids.ranges())), wanted)
        assert np.array_equal(ids.between(1_000, 1_400), wanted[1_000:1_400])
        assert ids.twice.tolist() == sorted([0, *IDS[[7, 30]].tolist()])
        assert ids.sum == IdSum.of(wanted)


@IN_MEMORY
@pytest.mark.usefixtures("limited")
def test_a_sample_is_that_of_an_array() -> None:
    """An audit draws the same chunks, however many there are."""
    with closing(SortedIds(in_blocks(IDS))) as ids:
        for size in (0, 1, 40, 10_000):
            expected = np.sort(IDS)[sampled_places(len(IDS), size, seed=4)]
            assert np.array_equal(ids.sampled(size, seed=4), expected)


@IN_MEMORY
@pytest.mark.usefixtures("limited")
def test_what_one_lacks_of_the_other() -> None:
    """Whether or not both are on disk."""
    others = np.concatenate([IDS[:4_000], [17]])
    with closing(SortedIds(in_blocks(IDS))) as ids, closing(SortedIds([others])) as some:
        assert np.array_equal(lacking(ids, some), np.sort(IDS[4_000:]))
        assert lacking(some, ids).tolist() == [17]


@IN_MEMORY
@pytest.mark.usefixtures("limited")
def test_blocks_are_whole_and_sent_with_their_ids() -> None:
    """A worker of another process gets the ids; what waits here holds none."""
    with closing(SortedIds(in_blocks(IDS))) as ids:
        blocks = list(ids.blocks(400))
        assert [len(block) for block in blocks] == [400] * 12 + [200]
        sent = [pickle.loads(pickle.dumps(block)) for block in blocks]
        assert np.array_equal(np.concatenate([block.ids() for block in sent]), np.sort(IDS))
        with pytest.raises(TypeError, match="IdBlock"):
            pickle.dumps(ids)
    assert all(isinstance(block, IdBlock) and len(block) for block in sent)


def test_no_ids() -> None:
    """An empty collection, or one that cannot be read."""
    with closing(SortedIds(())) as ids, closing(SortedIds([IDS])) as others:
        assert (len(ids), list(ids.blocks(10)), ids.twice.tolist()) == (0, [], [])
        assert len(ids.sampled(10, seed=0)) == 0
        assert len(lacking(ids, others)) == 0
        assert len(lacking(others, ids)) == len(IDS)


def test_ranges_are_equally_wide() -> None:
    """256 of them over all chunk ids."""
    bounds = np.arange(256) * 2**55
    assert range_numbers(bounds).tolist() == list(range(256))
    assert range_numbers(bounds + (2**55 - 1)).tolist() == list(range(256))


def test_two_million_ids_take_20_mb() -> None:
    """While they are sorted; a few hundred kilobytes then. An array of them alone takes 16 MB."""
    random = np.random.default_rng(0)
    blocks = (random.integers(0, 2**63, 4_000, dtype=np.int64) for _ in range(500))
    tracemalloc.start()
    with closing(SortedIds(blocks)) as ids:
        waiting = list(ids.blocks(4_000))
        held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, waiting)) == 2_000_000
    assert held < 2e6
    assert peak < 20e6
