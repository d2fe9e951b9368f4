"""The pool of Ray actors when processes die; real actors, real signals."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError, WorkerLost
from mrag_pipeline.runtime import usage
from mrag_pipeline.runtime.embedder import embed_work
from mrag_pipeline.runtime.ray_pool import RayPool
from tests.support.fake_workers import (
    DIES,
    HANGS,
    LONG,
    SLOW,
    a_plan,
    a_shard,
    attempts,
    dies_where_it_is_opened,
    open_scripted,
    worker_pids,
)

pytestmark = pytest.mark.usefixtures("local_ray")


def a_pool(folder: Path, **workers: object) -> RayPool:
    config = Config.parse({"workers": {"count": 2, "device": "cpu", **workers}})
    return RayPool(config, embed_work(a_plan(), functools.partial(open_scripted, folder)))


def shards_of(receipts: object) -> list[int]:
    return sorted(receipt.shard for receipt in receipts)  # type: ignore[attr-defined]


def gone(pids: set[int], within_s: float) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if not any(psutil.pid_exists(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def test_a_worker_that_dies_costs_its_shard_a_second_try(tmp_path: Path) -> None:
    """All receipts come; only the shard that killed its worker was tried twice."""
    before = usage.total()
    pool = a_pool(tmp_path, in_flight=1)
    shards = [a_shard(0), a_shard(1, [DIES]), *(a_shard(i) for i in range(2, 6))]
    try:
        assert shards_of(pool.run(shards)) == list(range(6))
    finally:
        pool.close()
    assert [attempts(tmp_path, i) for i in range(6)] == [1, 2, 1, 1, 1, 1]
    nodes = usage.total().since(before).nodes.values()  # those of earlier tests did nothing
    [here] = [node for node in nodes if node.items]
    assert (here.items, here.lost_workers, here.errors, here.retries) == (6, 1, 1, 1)
    assert here.busy_s > 0


@pytest.mark.long
def test_a_worker_killed_from_outside_costs_nothing(tmp_path: Path) -> None:
    """Kill -9 in the middle of a run: every shard has its receipt, once."""
    pool = a_pool(tmp_path)
    found = []
    try:
        for receipt in pool.run([a_shard(i, [SLOW]) for i in range(8)]):
            found.append(receipt.shard)
            if len(found) == 2:
                os.kill(min(worker_pids(tmp_path)), signal.SIGKILL)
    finally:
        pool.close()
    assert sorted(found) == list(range(8))


def test_a_shard_that_always_kills_its_worker_is_given_up(tmp_path: Path) -> None:
    """After `workers.attempts` lost workers, with advice; it says which shard it was."""
    pool = a_pool(tmp_path, attempts=2, in_flight=1)
    try:
        with pytest.raises(WorkerLost, match="shard 1 lost its worker") as caught:
            list(pool.run([a_shard(0), a_shard(1, [DIES] * 9), a_shard(2)]))
    finally:
        pool.close()
    assert attempts(tmp_path, 1) == 2
    assert "sharding.shard_mb" in caught.value.fix


def test_the_shard_behind_a_killer_is_not_blamed(tmp_path: Path) -> None:
    """One worker, two in flight: the innocent one is tried on the next worker, and done."""
    pool = a_pool(tmp_path, count=1, attempts=2)
    try:
        found = shards_of(pool.run([a_shard(0, [DIES]), a_shard(1, [DIES]), a_shard(2)]))
    finally:
        pool.close()
    assert found == [0, 1, 2]
    assert [attempts(tmp_path, i) for i in range(3)] == [2, 2, 1]


@pytest.mark.long
def test_a_killer_behind_a_fast_shard_is_found(tmp_path: Path) -> None:
    """Its neighbour's receipt may be lost with the worker; the neighbour is not given up."""
    pool = a_pool(tmp_path, count=1, attempts=3)
    try:
        with pytest.raises(WorkerLost, match="shard 1 lost its worker"):
            list(pool.run([a_shard(0), a_shard(1, [DIES] * 9), a_shard(2)]))
    finally:
        pool.close()
    assert attempts(tmp_path, 0) <= 2


def test_a_worker_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    """What it is at and what waits behind it is done by another; each is counted once."""
    pool = a_pool(tmp_path)
    try:
        found = shards_of(pool.run([a_shard(0), a_shard(1, [HANGS]), *map(a_shard, range(2, 9))]))
    finally:
        pool.close()
    assert found == list(range(9))
    assert attempts(tmp_path, 1) == 2


@pytest.mark.slow
def test_the_first_receipt_of_a_late_shard_counts(tmp_path: Path) -> None:
    """The late worker comes to an end of its own while the run goes on, and is not heard."""
    pool = a_pool(tmp_path, count=3, in_flight=1, late_factor=2)
    # Both are late, and the second with its second worker too: the first's late end is seen.
    late = [a_shard(0, [LONG]), a_shard(1, [HANGS, LONG])]
    try:
        found = shards_of(pool.run([*late, *map(a_shard, range(2, 12))]))
    finally:
        pool.close()
    assert found == list(range(12))
    assert attempts(tmp_path, 0) == 2


@pytest.mark.slow
def test_nothing_is_late_where_the_config_says_so(tmp_path: Path) -> None:
    """workers.late_factor = 0: every shard is tried once, however long one takes."""
    pool = a_pool(tmp_path, late_factor=0)
    try:
        found = shards_of(pool.run([a_shard(0, [LONG]), *map(a_shard, range(1, 9))]))
    finally:
        pool.close()
    assert found == list(range(9))
    assert attempts(tmp_path, 0) == 1


def test_workers_end_when_the_pool_is_closed(tmp_path: Path) -> None:
    """No process stays behind, after a whole run and after half of one."""
    pool = a_pool(tmp_path)
    receipts = pool.run([a_shard(i, [SLOW]) for i in range(6)])
    next(iter(receipts))
    pids = worker_pids(tmp_path)
    assert pids
    assert all(psutil.pid_exists(pid) for pid in pids)
    pool.close()
    assert gone(pids, within_s=10)


def test_work_in_flight_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than `in_flight` shards for each worker, however many there are."""
    awaited: list[int] = []
    wait = ray.wait

    def counting(refs: list[Any], **options: Any) -> Any:
        awaited.append(len(refs))
        return wait(refs, **options)

    monkeypatch.setattr(ray, "wait", counting)
    pool = a_pool(tmp_path, in_flight=2)
    try:
        slow = (a_shard(i, [SLOW]) for i in range(10))
        assert len(list(pool.run(slow))) == 10
    finally:
        pool.close()
    assert max(awaited) == 4


@pytest.mark.long
def test_the_last_shards_are_shared_out(tmp_path: Path) -> None:
    """Two shards on two workers are done by two processes, not queued behind each other."""
    pool = a_pool(tmp_path, in_flight=4)
    try:
        deadline = time.monotonic() + 120
        while len(worker_pids(tmp_path)) < 2:  # on a busy machine one starts long before the other
            assert time.monotonic() < deadline
            list(pool.run([a_shard(0, [SLOW]), a_shard(1, [SLOW])]))
        for file in list(tmp_path.iterdir()):
            file.unlink()
        list(pool.run([a_shard(i, [SLOW] * 2) for i in range(2, 6)]))
    finally:
        pool.close()
    assert len(worker_pids(tmp_path)) == 2


@pytest.mark.parametrize("workers", [{"count": 3}, {"count": 1, "threads": 64}])
def test_more_workers_or_threads_than_cores_still_run(
    tmp_path: Path, workers: dict[str, int]
) -> None:
    """The config is followed, and no actor waits for a core that will never be free."""
    pool = a_pool(tmp_path, **workers)
    try:
        assert shards_of(pool.run([a_shard(i) for i in range(12)])) == list(range(12))
    finally:
        pool.close()


def test_workers_that_no_node_has_room_for_are_told(tmp_path: Path) -> None:
    """On a cluster, which may grow, the pool waits a while and then says what is missing."""
    pool = a_pool(tmp_path, count=1, threads=64, address="auto", start_timeout_s=1.0)
    try:
        with pytest.raises(WorkerLost, match="no worker started within 1 s") as caught:
            list(pool.run([a_shard(0)]))
    finally:
        pool.close()
    assert "64 CPU free" in caught.value.expected


def test_workers_that_die_at_their_start_end_the_run(tmp_path: Path) -> None:
    """A worker that never comes up is not tried for ever."""
    config = Config.parse({"workers": {"count": 1, "device": "cpu", "attempts": 2}})
    pool = RayPool(config, embed_work(a_plan(), dies_where_it_is_opened(tmp_path)))
    try:
        with pytest.raises(WorkerLost, match="2 workers died while starting"):
            list(pool.run([a_shard(0)]))
    finally:
        pool.close()
    assert attempts(tmp_path, 0) == 0


def test_a_gpu_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    """Instead of waiting for one."""
    with pytest.raises(ConfigError, match="this machine shows Ray 0"):
        a_pool(tmp_path, device="cuda")
