"""A pool's workers follow the nodes that join and leave, over a fake Ray and a fake clock."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from mrag_pipeline.config import Config
from mrag_pipeline.runtime import cluster, ray_pool, ray_workers
from mrag_pipeline.runtime.pools import phase_pools
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.runtime.ray_workers import LONG_START_S, Worker, WorkerGroup

CPUS, GPUS = (2, 0), (8, 4)  # of a node


@dataclass
class FakeRay:
    """The nodes that are there, and the actors that were asked for and not ended."""

    nodes_there: dict[str, tuple[int, int]]
    now: float = 0.0
    actors: dict[str, dict[str, Any]] = field(default_factory=dict)  # by reference, their options
    asked: int = 0

    def nodes(self) -> list[dict[str, Any]]:
        """As `ray.nodes` shows them, with one that has died."""
        alive = [
            {"NodeID": name, "Alive": True, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}}
            for name, (cpus, gpus) in self.nodes_there.items()
        ]
        return [*alive, {"NodeID": "dead", "Alive": False, "Resources": {}}]

    def remote(self, _: type) -> Any:
        """As `ray.remote`, of the workers' class."""
        return SimpleNamespace(options=lambda **options: self._made(options))

    def kill(self, actor: Any) -> None:
        """As `ray.kill`."""
        self.actors.pop(actor.name, None)

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def _made(self, options: dict[str, Any]) -> Any:
        def remote(*_: object) -> Any:
            self.asked += 1
            name = f"actor {self.asked}"
            self.actors[name] = options
            return SimpleNamespace(name=name, up=SimpleNamespace(remote=lambda: name))

        return SimpleNamespace(remote=remote)

    @property
    def selectors(self) -> set[str]:
        """The nodes that the actors exclude."""
        return {str(options.get("label_selector")) for options in self.actors.values()}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """Two nodes without a GPU."""
    ray = FakeRay({"a": CPUS, "b": CPUS})
    monkeypatch.setattr(cluster, "ray", ray)
    monkeypatch.setattr(ray_workers, "ray", ray)
    monkeypatch.setattr(ray_workers, "time", ray)
    return ray


def a_group(address: str = "auto", **workers: object) -> WorkerGroup:
    settings = {"address": address, "device": "cpu", **workers}
    return WorkerGroup(Config.parse({"workers": settings}), lambda _: lambda item: item)


def up(*workers: Worker) -> None:
    """Ray has placed them."""
    for worker in workers:
        worker.is_up("a node")


def test_a_node_that_joins_gets_workers(fake: FakeRay) -> None:
    """One for each core, if there are items for them."""
    group = a_group()
    group.hire(100)
    assert len(group.workers) == 4
    fake.nodes_there["c"] = (8, 0)
    group.follow_nodes(useful=7)
    assert len(group.workers) == 7
    group.follow_nodes(useful=100)
    assert len(group.workers) == len(fake.actors) == 12


def test_nothing_is_asked_for_in_place_of_a_node_that_left(fake: FakeRay) -> None:
    """Its workers were replaced; those that wait are ended, those that are up stay."""
    group = a_group()
    group.hire(4)
    up(*group.workers)
    del fake.nodes_there["b"]
    for worker in group.workers[2:]:
        group.replace(worker)
        group.follow_nodes(useful=4)
    assert len(group.workers) == len(fake.actors) == 2
    assert all(worker.starting is None for worker in group.workers)


def test_of_workers_that_wait_the_oldest_is_ended(fake: FakeRay) -> None:
    """It waits for a place; the other may just be starting."""
    group = a_group()
    group.hire(4)
    up(*group.workers[:2])
    fake.now = 5.0
    group.replace(group.workers[2])
    fake.nodes_there["b"] = (1, 0)
    group.follow_nodes(useful=4)
    assert sorted(fake.actors) == ["actor 1", "actor 2", "actor 5"]


def test_a_number_that_was_asked_for_stays_asked_for(
    fake: FakeRay, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is there: an autoscaler sees it. The log tells who waits, once."""
    caplog.set_level(logging.INFO, ray_workers.log.name)
    group = a_group(count=6, threads=2)
    group.hire(100)
    up(*group.workers[:2])
    del fake.nodes_there["b"]
    for fake.now in (10.0, LONG_START_S, LONG_START_S + 10.0):
        group.follow_nodes(useful=100)
    assert len(fake.actors) == 6
    assert caplog.messages == [
        "workers_waiting num=4 up=2 each='2 CPU': `ray status` shows what is free"
    ]
    up(*group.workers)
    group.follow_nodes(useful=100)
    assert "num=0 up=6" in caplog.messages[-1]


def test_workers_on_gpus_follow_gpus(fake: FakeRay) -> None:
    """`device = "auto"` is decided once: they are not replaced by others if the GPUs leave."""
    fake.nodes_there["g"] = GPUS
    group = a_group(device="auto")
    group.hire(100)
    assert len(group.workers) == 4
    fake.nodes_there["h"] = GPUS
    group.follow_nodes(useful=100)
    assert len(group.workers) == 8
    assert {options["num_gpus"] for options in fake.actors.values()} == {1.0}
    fake.nodes_there = {"a": CPUS}
    group.follow_nodes(useful=100)
    assert group.plan.on_gpu
    assert len(group.workers) == 1
    assert fake.selectors == {"None"}


def test_workers_without_a_gpu_exclude_the_nodes_with_gpus(fake: FakeRay) -> None:
    """Also one that joins: what waits is asked for again, elsewhere."""
    fake.nodes_there["g"] = GPUS
    group = a_group(count=6)
    group.hire(100)
    up(*group.workers[:4])
    fake.nodes_there["h"] = GPUS
    group.follow_nodes(useful=0)
    assert len(fake.actors) == 6
    assert [fake.actors[name]["label_selector"] for name in ("actor 1", "actor 7", "actor 8")] == [
        {"ray.io/node-id": "!in(g)"},
        {"ray.io/node-id": "!in(g,h)"},
        {"ray.io/node-id": "!in(g,h)"},
    ]


def test_phases_without_a_gpu_have_a_number_of_workers_of_their_own(
    fake: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for nodes without a GPU, while `count` is that of the workers that embed."""
    fake.nodes_there = {"gpu": GPUS, "a": CPUS, "b": CPUS}
    monkeypatch.setattr(ray_pool, "connect_ray", lambda _: False)
    settings = {"address": "auto", "count": 2, "phase_workers": 64, "phase_mb": 0.0}
    config = Config.parse({"workers": settings})
    embeds = RayPool(config, lambda _: lambda item: item)
    assert embeds.describe() == "2 Ray actors, 1 GPU each on 3 nodes"
    loads = phase_pools(config, lambda _: lambda item: item)(lambda item: item, 1)
    assert isinstance(loads, RayPool)
    assert loads.describe() == "64 Ray actors, 1 thread each on 3 nodes"
    loads._group.hire(100)
    assert len(fake.actors) == 64
    assert fake.selectors == {"{'ray.io/node-id': '!in(gpu)'}"}
    loads.close()
    assert not fake.actors


def test_if_all_other_nodes_leave_nodes_with_gpus_are_used(fake: FakeRay) -> None:
    """The phase goes on, on what there is."""
    fake.nodes_there["g"] = GPUS
    group = a_group()
    group.hire(100)
    assert (len(group.workers), fake.selectors) == (4, {"{'ray.io/node-id': '!in(g)'}"})
    fake.nodes_there = {"g": GPUS}
    group.follow_nodes(useful=100)
    assert (len(group.workers), fake.selectors) == (8, {"None"})


def test_a_ray_of_this_machine_is_not_looked_at(fake: FakeRay) -> None:
    """It has one node, which neither joins nor leaves."""
    group = a_group(address="", count=1)
    group.hire(1)
    fake.nodes_there["c"] = CPUS
    group.follow_nodes(useful=100)
    assert len(group.workers) == 1
