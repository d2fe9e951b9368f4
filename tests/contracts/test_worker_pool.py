"""What every worker pool promises; run by the serial one and by Ray's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.errors import BrokenFile, IndexUnavailable
from mrag_pipeline.ports import WorkerPool
from mrag_pipeline.runtime import usage
from mrag_pipeline.runtime.embedder import embed_work
from mrag_pipeline.runtime.pools import serial_pool
from mrag_pipeline.runtime.ray_pool import RayPool
from tests.support.fake_workers import BROKEN, BUSY, a_plan, a_shard, attempts, open_scripted

Open = Callable[..., WorkerPool[Any, Any]]


@pytest.fixture(params=["serial", "ray"])
def open_pool(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens a pool whose workers do as their shards say; ends it after the test."""
    if request.param == "ray":
        request.getfixturevalue("local_ray")

    def open_one(**workers: object) -> WorkerPool[Any, Any]:
        config = Config.parse({"workers": {"count": 2, "device": "cpu", **workers}})
        open_embedder = functools.partial(open_scripted, tmp_path)
        opened: WorkerPool[Any, Any] = (
            serial_pool(config, a_plan(), open_embedder)
            if request.param == "serial"
            else RayPool(config, embed_work(a_plan(), open_embedder))
        )
        request.addfinalizer(opened.close)
        return opened

    return open_one


# Two workers of Ray take two seconds of CPU time to start.
RAY_IS_LONG = pytest.mark.parametrize(
    "open_pool", ["serial", pytest.param("ray", marks=pytest.mark.long)], indirect=True
)


def test_every_shard_has_one_receipt(open_pool: Open, tmp_path: Path) -> None:
    """Each shard once, tried once."""
    with closing(open_pool()) as pool:
        receipts = list(pool.run([a_shard(i) for i in range(7)]))
    assert sorted(receipt.shard for receipt in receipts) == list(range(7))
    assert [attempts(tmp_path, i) for i in range(7)] == [1] * 7


@RAY_IS_LONG
def test_a_pool_runs_again(open_pool: Open, tmp_path: Path) -> None:
    """A phase may need two runs; with an index of its own each time, an item is done each time."""
    with closing(open_pool()) as pool:
        for _ in range(2):
            assert sorted(r.shard for r in pool.run([a_shard(i) for i in range(4)])) == [0, 1, 2, 3]
    assert [attempts(tmp_path, i) for i in range(4)] == [2] * 4


def test_no_shard_no_receipt(open_pool: Open) -> None:
    """An empty list of work ends at once."""
    assert list(open_pool().run([])) == []


def test_a_pool_says_what_it_is(open_pool: Open) -> None:
    """One line, for the progress display."""
    assert open_pool().describe().count("\n") == 0


@RAY_IS_LONG
def test_closing_twice_is_harmless(open_pool: Open) -> None:
    """`closing` and a caller's own cleaning-up may both do it."""
    pool = open_pool()
    list(pool.run([a_shard(0)]))
    pool.close()
    pool.close()


def test_a_permanent_error_arrives_as_itself(open_pool: Open, tmp_path: Path) -> None:
    """Its type, its words and its advice; the shard is not tried again."""
    pool = open_pool()
    with pytest.raises(BrokenFile) as caught:
        list(pool.run([a_shard(3, [BROKEN])]))
    assert (caught.value.found, caught.value.fix) == ("shard 3 is broken", "mend it")
    assert attempts(tmp_path, 3) == 1


def test_a_transient_error_is_tried_again(open_pool: Open, tmp_path: Path) -> None:
    """Twice no answer, then a receipt; the others are untouched. All of it is counted."""
    before = usage.total()
    receipts = list(open_pool().run([a_shard(0), a_shard(1, [BUSY, BUSY]), a_shard(2)]))
    assert sorted(receipt.shard for receipt in receipts) == [0, 1, 2]
    assert [attempts(tmp_path, i) for i in range(3)] == [1, 3, 1]
    used = usage.total().since(before)
    assert used.retries == 2
    assert sum(node.errors for node in used.nodes.values()) == 2
    assert sum(node.num_rows for node in used.nodes.values()) == 3 * 2  # chunks of each receipt
    assert sum(node.num_bytes for node in used.nodes.values()) == sum(
        a_shard(i).num_bytes for i in range(3)
    )


@RAY_IS_LONG
def test_a_lasting_transient_error_ends_the_run(open_pool: Open, tmp_path: Path) -> None:
    """After `workers.attempts` it is raised as it is."""
    with pytest.raises(IndexUnavailable, match="shard 0: no answer"):
        list(open_pool(attempts=2).run([a_shard(0, [BUSY] * 9)]))
    assert attempts(tmp_path, 0) == 2


@RAY_IS_LONG
def test_receipts_come_as_they_are_earned(open_pool: Open, tmp_path: Path) -> None:
    """The first is there before the last shard is begun: a run can be watched."""
    receipts: Iterator[object] = iter(open_pool().run([a_shard(i) for i in range(30)]))
    next(receipts)
    assert sum(attempts(tmp_path, i) for i in range(30)) < 30
