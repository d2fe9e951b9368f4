"""What the pool does about late, lost and failing shards, over a fake Ray and a fake clock."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from mrag_pipeline.config import Config
from mrag_pipeline.domain.dispatch import Limit
from mrag_pipeline.domain.manifest import Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.domain.worker_plan import WorkerPlan
from mrag_pipeline.errors import WorkerLost
from mrag_pipeline.runtime import ray_pool, ray_workers, usage
from mrag_pipeline.runtime.pools import load_pools
from mrag_pipeline.runtime.ray_workers import Worker, WorkerGroup
from mrag_pipeline.runtime.worker_lines import Done
from mrag_pipeline.settings.workers import WorkersSpec
from mrag_pipeline.stages.ingest.load_items import EndItem, LoadItem, RangeItem
from tests.support.fake_workers import a_shard

NEVER = float("inf")
DIES = "dies"


@dataclass(eq=False)
class Ref:
    """An object reference: ready at a time, with a value or an error."""

    ready_at: float
    value: object


@dataclass
class Played:
    """Fake workers: the seconds that each try of a shard takes, or until it kills its worker."""

    seconds: Mapping[int, Sequence[float | tuple[float, str]]] = field(default_factory=dict)
    starts: Sequence[float | tuple[float, str]] = ()  # of workers, in the order they are hired
    nodes: Sequence[tuple[float, int]] = ()  # from when on there are how many, one worker on each
    now: float = 0.0
    looks: list[float] = field(default_factory=list)  # when the nodes were looked at
    tries: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    hired: int = 0
    ended: int = 0
    answered: int = 0

    # ------------------------------------------------- as Ray
    def wait(self, refs: list[Ref], num_returns: int, timeout: float) -> tuple[list[Ref], object]:
        assert refs, "waits for nothing: this would never return"
        first = min(refs, key=lambda ref: ref.ready_at)
        if first.ready_at > self.now + timeout:
            self.now += timeout
            return [], refs
        self.now = max(self.now, first.ready_at)
        return [first], refs

    def get(self, ref: Ref) -> object:
        if isinstance(ref.value, BaseException):
            raise ref.value
        self.answered += isinstance(ref.value, Done)
        return ref.value

    # ------------------------------------------------- as the group
    def group(self, count: int) -> Any:
        group = SimpleNamespace(workers=[], plan=WorkerPlan(count, False, 4, 0.0))

        def hire(at_most: int) -> None:
            group.workers = [self._worker() for _ in range(min(count, at_most))]

        def follow_nodes(useful: int) -> None:
            self.looks.append(self.now)
            there = [number for since, number in self.nodes if since <= self.now]
            group.plan = WorkerPlan(there[-1] if there else count, False, 4, 0.0)
            missing = min(group.plan.count, useful) - len(group.workers)
            group.workers += [self._worker() for _ in range(missing)]

        def replace(worker: Worker) -> None:
            fresh = self._worker()
            worker.actor, worker.starting, worker.last = fresh.actor, fresh.starting, None
            worker.flight.clear()

        def end() -> None:
            self.ended += 1

        group.hire, group.replace, group.end_busy = hire, replace, end
        group.follow_nodes = follow_nodes
        return group

    def _worker(self) -> Worker:
        planned = self.starts[self.hired] if self.hired < len(self.starts) else 0.0
        self.hired += 1
        actor = Actor(self)
        return Worker(actor, actor.ref(planned, "node"))


class Actor:
    """Does one task after the other; tasks that wait when it dies fail with it."""

    def __init__(self, played: Played) -> None:
        self._played = played
        self._busy_until = played.now
        self._death: float = NEVER
        self.do = SimpleNamespace(remote=self._embed)

    def ref(self, planned: float | tuple[float, str], value: object) -> Ref:
        seconds, dies = planned if isinstance(planned, tuple) else (planned, "")
        ends_at = max(self._busy_until, self._played.now) + seconds
        if dies:
            self._death = min(self._death, ends_at)
        self._busy_until = ends_at
        if ends_at >= self._death:
            return Ref(self._death, ActorDiedError())
        return Ref(ends_at, value)

    def _embed(self, shard: Shard) -> Ref:
        number = self._played.tries[shard.index]
        self._played.tries[shard.index] += 1
        script = self._played.seconds.get(shard.index, ())
        planned = script[number] if number < len(script) else 1.0
        return self.ref(planned, Done(Receipt(shard.index, "f", 1, 2, 3, 0, 4, ())))


Run = Callable[..., list[int]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs shards on workers; returns the shards' numbers in the order of their receipts."""

    def played(
        ray: Played,
        shards: int | Iterator[Any] = 12,
        workers: int = 3,
        limit: Limit | None = None,
        **spec: Any,
    ) -> list[int]:
        monkeypatch.setattr(ray_pool, "ray", ray)
        clock = SimpleNamespace(monotonic=lambda: ray.now)
        monkeypatch.setattr(ray_pool, "time", clock)
        monkeypatch.setattr(ray_workers, "time", clock)
        assert time.monotonic() != ray.now  # only the two modules have the fake clock
        planned = [a_shard(i) for i in range(shards)] if isinstance(shards, int) else shards
        group = ray.group(workers)
        pool_run = ray_pool._Run(
            group, planned, WorkersSpec(**spec), "shard", True, lambda _: True, limit
        )
        return [receipt.shard for receipt in pool_run.answers()]

    return played


def once(receipts: list[int], shards: int = 12) -> bool:
    return sorted(receipts) == list(range(shards))


def test_no_more_workers_than_the_index_takes(run: Run) -> None:
    """A limit of the phase, below the planned workers and the items."""
    ray = Played()
    assert once(run(ray, limit=Limit(2)))
    assert ray.hired == 2


def test_a_limit_holds_for_some_items_and_the_others_have_all_workers(run: Run) -> None:
    """Ten shards by ten workers in a second, then two at a time of the six that are limited."""
    ray = Played()
    limit = Limit(2, lambda shard: shard.index >= 10)
    assert once(run(ray, shards=16, workers=10, limit=limit, in_flight=1), 16)
    assert ray.hired == 10
    assert ray.now == pytest.approx(1.0 + 6 / 2)


def test_a_limited_item_whose_worker_died_is_done_again(run: Run) -> None:
    """It counts no more, and holds up no other."""
    ray = Played({0: [(2.0, DIES)]})
    assert once(run(ray, limit=Limit(1), late_factor=0))
    assert ray.tries[0] == 2


def test_ranges_are_filled_by_all_workers_and_collections_loaded_as_the_index_takes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What limits a load on workers."""
    opened: list[Limit] = []
    monkeypatch.setattr(ray_pool, "RayPool", lambda *_, limit, **__: opened.append(limit))
    can = SimpleNamespace(is_shared=True, loads_at_once=8)
    index: Any = SimpleNamespace(capabilities=lambda: can)
    config = Config.parse({"workers": {"phase_mb": 0}})
    work: Any = SimpleNamespace()
    load_pools(config, lambda _: work, index)(work, 1)
    [limit] = opened
    assert limit.most == 8
    assert limit.holds_for(LoadItem(0, 10, 100))
    assert limit.holds_for(EndItem(0, 0, {}))
    assert not limit.holds_for(RangeItem(1, 0, "shards_0_3", (0, 3), 10, 100))


def test_a_generator_is_asked_for_shards_as_they_are_needed(run: Run) -> None:
    """No more are held than keep the workers busy; the last workers wait for none of them."""
    ray, most_held = Played(), 0

    def shards() -> Iterator[Any]:
        nonlocal most_held
        for number in range(500):
            most_held = max(most_held, number + 1 - ray.answered)
            yield a_shard(number)

    assert once(run(ray, shards()), 500)
    assert most_held == ray_pool.AHEAD
    assert ray.now == pytest.approx(-(-500 // 3))


def test_a_generator_keeps_many_workers_busy(run: Run) -> None:
    """More workers than shards are held for few: each gets as many as it is given at a time."""
    ray = Played()
    assert once(run(ray, map(a_shard, range(400)), workers=100), 400)
    assert (ray.hired, ray.now) == (100, pytest.approx(4))


def test_without_faults_every_shard_is_tried_once(run: Run) -> None:
    """Three workers of the same speed."""
    ray = Played()
    assert once(run(ray))
    assert set(ray.tries.values()) == {1}
    assert ray.now == pytest.approx(4)
    assert ray.ended == 1


def test_a_hanging_shard_is_done_by_an_idle_worker(run: Run) -> None:
    """After three times the median, and after the shard that waited behind it."""
    ray = Played({1: [NEVER]})
    receipts = run(ray, workers=2)
    assert once(receipts)
    assert {shard for shard, tries in ray.tries.items() if tries > 1} == {1, receipts[-2]}
    assert receipts[-1] == 1
    assert ray.now < 16


def test_while_shards_wait_a_late_one_is_not_repeated(run: Run) -> None:
    """Shards that no worker has come first."""
    ray = Played({0: [20.0]})
    assert once(run(ray, shards=60), 60)
    assert ray.tries[0] == 1


def test_of_two_workers_at_a_shard_the_faster_counts(run: Run) -> None:
    """The late worker ends during the run; its receipt is not counted again."""
    ray = Played({0: [9.0], 1: [NEVER, 6.0]})
    assert once(run(ray, workers=3))
    assert ray.tries[0] == 2


def test_the_late_worker_may_be_the_faster(run: Run) -> None:
    """The second worker is even slower; the first one's receipt counts and ends the run."""
    ray = Played({0: [9.0, 100.0]})
    assert once(run(ray))
    assert ray.tries[0] == 2
    assert ray.now == pytest.approx(9)


def test_no_shard_has_three_workers(run: Run) -> None:
    """However late both workers are."""
    ray = Played({0: [50.0, 40.0]})
    assert once(run(ray, workers=6))
    assert ray.tries[0] == 2


def test_the_death_of_a_second_worker_uses_up_no_try(run: Run) -> None:
    """The first worker still has the shard, and its receipt comes."""
    ray = Played({0: [30.0, (1.0, DIES)]})
    assert once(run(ray, attempts=1))


def test_a_first_worker_that_dies_leaves_the_shard_to_the_second(run: Run) -> None:
    """A third worker does not get it as well."""
    ray = Played({0: [(7.0, DIES), 2.9]})
    assert once(run(ray))
    assert ray.tries[0] == 2


def test_both_dying_ends_the_run_when_the_tries_are_used_up(run: Run) -> None:
    """The error names a shard that kills each of its workers."""
    ray = Played({0: [(9.0, DIES), (9.0, DIES), (1.0, DIES)]})
    with pytest.raises(WorkerLost, match="shard 0 lost its worker"):
        run(ray, attempts=2)


@pytest.mark.parametrize(("seconds", "retries"), [([(2.0, DIES)], 1), ([30.0, (1.0, DIES)], 0)])
def test_a_retry_is_counted_where_the_try_failed(
    run: Run, seconds: Sequence[float | tuple[float, str]], retries: int
) -> None:
    """One after which another worker still has the item is none; rows are those of answers."""
    before = usage.total()
    assert once(run(Played({0: seconds}), attempts=2))
    node = usage.total().since(before).nodes["node"]
    assert (node.retries, node.num_rows) == (retries, 12 * 2)


def test_zero_turns_lateness_off(run: Run) -> None:
    """Every shard is tried once, however long it takes."""
    ray = Played({0: [500.0]})
    assert once(run(ray, late_factor=0))
    assert set(ray.tries.values()) == {1}


def test_the_loss_of_a_node_with_starting_workers_does_not_end_the_run(run: Run) -> None:
    """Eight workers start on one node and die with it; the next eight start."""
    ray = Played(starts=[(1.0, DIES)] * 8)
    assert once(run(ray, shards=16, workers=8, attempts=2), 16)
    assert ray.hired == 16


def test_workers_that_never_start_end_the_run(run: Run) -> None:
    """After as many deaths as tries for each worker, with no successful start in between."""
    ray = Played(starts=[(1.0, DIES)] * 100)
    with pytest.raises(WorkerLost, match="6 workers died while starting"):
        run(ray, workers=3, attempts=2)


def test_the_shards_that_waited_for_a_dead_worker_are_given_to_others(run: Run) -> None:
    """Only the shard that it was embedding has used up a try."""
    ray = Played({0: [(2.0, DIES)]})
    assert once(run(ray, attempts=2))
    again = {shard for shard, tries in ray.tries.items() if tries > 1}
    assert 0 in again
    assert len(again) <= 2


def test_nodes_that_join_get_workers(run: Run) -> None:
    """At the next look, every ten seconds; as many as there are items for."""
    ray = Played(nodes=[(12.0, 5), (35.0, 40)])
    assert once(run(ray, shards=100, workers=1), 100)
    # 20 shards by one worker until the look at 20 s, 100 by five until 40 s: then none is left.
    assert ray.looks[:3] == pytest.approx([10.0, 20.0, 30.0])
    assert ray.hired == 5
    assert ray.now == pytest.approx(36.0, abs=1.0)


def test_no_worker_is_hired_without_an_item_for_it(run: Run) -> None:
    """Ten nodes join when all but three of the items are done or begun."""
    ray = Played({11: [30.0]}, nodes=[(10.0, 10)])
    assert once(run(ray, shards=14, workers=1, in_flight=1, late_factor=0), 14)
    assert ray.hired == 1 + 3


def test_an_index_takes_no_more_workers_when_nodes_join(run: Run) -> None:
    """The phase's limit holds whatever the nodes."""
    ray = Played(nodes=[(10.0, 9)])
    assert once(run(ray, shards=60, workers=1, limit=Limit(2)), 60)
    assert ray.hired == 2


def test_the_nodes_are_looked_at_when_a_worker_is_lost(run: Run) -> None:
    """Its node may have left: then nothing is to be asked for in its place."""
    ray = Played({0: [(4.0, DIES)]})
    assert once(run(ray, shards=30), 30)
    assert ray.looks[0] == pytest.approx(4.0)


def test_no_worker_up_for_the_configured_time_ends_the_run(run: Run) -> None:
    """The message says what a worker needs, and what an autoscaler needs."""
    ray = Played(starts=[NEVER] * 3)
    with pytest.raises(WorkerLost, match="no worker started within 900 s") as caught:
        run(ray, start_timeout_s=900.0)
    assert ray.now == pytest.approx(900.0, abs=2.0)
    assert "4 CPU free" in caught.value.expected
    assert "workers.start_timeout_s" in caught.value.fix


@pytest.mark.parametrize(
    ("plan", "num_cpus", "core_s", "gpu_s"),
    [(WorkerPlan(3, False, 2, 0.0), 0.5, 12.5, 0.0), (WorkerPlan(3, True, 2, 0.5), 0.0, 0.0, 12.5)],
)
def test_a_worker_is_metered_while_it_is_up(
    monkeypatch: pytest.MonkeyPatch,
    plan: WorkerPlan,
    num_cpus: float,
    core_s: float,
    gpu_s: float,
) -> None:
    """With what was asked of Ray for it; one that the cluster has no room for holds nothing."""
    now = [0.0]
    actor = SimpleNamespace(up=SimpleNamespace(remote=lambda: "a reference"))
    made = SimpleNamespace(remote=lambda *_: actor)
    fake = SimpleNamespace(
        kill=lambda _: None, remote=lambda _: SimpleNamespace(options=lambda **_: made)
    )
    monkeypatch.setattr(ray_workers, "ray", fake)
    monkeypatch.setattr(ray_workers, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(ray_workers, "planned", lambda _: (plan, num_cpus))
    group = WorkerGroup(Config(), lambda _: lambda item: item)
    before = usage.total()
    group.hire(3)
    lost, busy, _waiting = group.workers
    now[0] = 5.0
    lost.is_up("one")
    busy.is_up("two")
    busy.flight.append(("another", a_shard(0)))
    now[0] = 10.0
    group.replace(lost)  # after 5 s; the next one is up at 20
    now[0] = 15.0
    group.end_busy()  # after 10 s, and the two that are not up
    group.hire(1)
    now[0] = 20.0
    group.workers[0].is_up("two")
    now[0] = 30.0
    group.end()  # after 10 s
    group.end()
    held = usage.total().since(before)
    assert (held.core_s, held.gpu_s) == pytest.approx((core_s, gpu_s))
    assert held.nodes["one"] == usage.NodeUsage(lost_workers=1, workers=1)
    assert held.nodes["two"] == usage.NodeUsage(workers=2)
