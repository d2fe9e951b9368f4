"""Phases on a Ray whose nodes join, leave, and have GPUs or none; Ray simulates all of them.

`python -m tests.support.elastic_nodes SCENE` plays one in a process of its own, and prints as JSON
what came of it. Its nodes are named; an item answers on which it was done.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.cluster_utils import Cluster

from mrag_pipeline.config import Config
from mrag_pipeline.ports import Work
from mrag_pipeline.runtime import ray_pool
from mrag_pipeline.runtime.pools import phase_pools
from mrag_pipeline.runtime.ray_pool import RayPool

ITEM_S = 0.1
WAITS_S = 180.0  # for something to happen, on a busy machine
LOOK_S = 1.0  # in the place of the pool's ten


@dataclass(frozen=True, slots=True)
class Item:
    """Takes its time."""

    index: int
    num_bytes: int = 1


def open_work(_config: Config) -> Work:
    """Does an item: answers the id of the node that it was done on."""

    def done(_item: Any) -> str:
        time.sleep(ITEM_S)
        return str(ray.get_runtime_context().get_node_id())

    return done


class Nodes:
    """A cluster's nodes by name."""

    def __init__(self, **head: int) -> None:
        """Starts the head."""
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"include_dashboard": False, **head}
        )
        self._nodes = {"head": self.cluster.head_node}

    def add(self, name: str, **has: int) -> None:
        """A node joins."""
        self._nodes[name] = self.cluster.add_node(**has)

    def remove(self, name: str) -> None:
        """A node is lost."""
        self.cluster.remove_node(self._nodes[name], allow_graceful=False)

    def name(self, node_id: str) -> str:
        """The node with the id."""
        [name] = [name for name, node in self._nodes.items() if node.node_id == node_id]
        return name

    def config(self, **workers: object) -> Config:
        """Of a pool on the cluster."""
        settings = {"address": self.cluster.address, "phase_mb": 0.0, **workers}
        return Config.parse({"workers": settings})


@contextmanager
def nodes(**head: int) -> Iterator[Nodes]:
    """A cluster with a head, for a while."""
    made = Nodes(**head)
    try:
        yield made
    finally:
        ray.shutdown()
        made.cluster.shutdown()


def until(is_so: Callable[[], bool]) -> Iterator[Item]:
    """Items until something is so."""
    ends_at, number = time.monotonic() + WAITS_S, 0
    while not is_so():
        assert time.monotonic() < ends_at, "it did not happen"
        yield Item(number)
        number += 1


def joining() -> dict[str, Any]:
    """A node joins in the middle of a phase, works, and is lost."""
    ray_pool.LOOK_S = LOOK_S
    with nodes(num_cpus=1) as there:
        config = there.config(device="cpu")
        done: Counter[str] = Counter()
        at_the_loss: Counter[str] = Counter()
        with closing(RayPool(config, open_work, unit="item")) as pool:
            group = pool._group

            def is_over() -> bool:
                goes_on = done["head"] >= at_the_loss["head"] + 10
                return bool(at_the_loss) and goes_on and len(group.workers) == 1

            for node_id in pool.run(until(is_over)):
                done[there.name(node_id)] += 1
                if done.total() == 3:
                    there.add("joined", num_cpus=2)
                if not at_the_loss and done["joined"] >= 8:
                    at_the_loss = done.copy()
                    there.remove("joined")
            return {"done": done, "planned": group.plan.count}


def gpus() -> dict[str, Any]:
    """Phases on GPUs and without, with as many workers as fit and with more."""
    with nodes(num_cpus=1) as there:
        there.add("gpu", num_cpus=4, num_gpus=2)
        there.add("plain", num_cpus=1)
        came: dict[str, Any] = {}
        for name, counts in {
            "as many as fit": {"count": 0},
            "more than fit": {"count": 5},
            "numbers of their own": {"count": 1, "phase_workers": 2},
        }.items():
            config = there.config(device="cuda", **counts)
            came[f"with a GPU, {name}"] = _phase(there, RayPool(config, open_work), {"gpu"})
            opened = phase_pools(config, open_work)(open_work(config), 1)
            came[f"without, {name}"] = _phase(there, opened, {"head", "plain"})
        return came


def only_gpus() -> dict[str, Any]:
    """No node without a GPU has a core: the head manages."""
    with nodes(num_cpus=0) as there:
        there.add("gpu", num_cpus=2, num_gpus=2)
        config = there.config(device="cuda")
        return _phase(there, phase_pools(config, open_work)(open_work(config), 1), {"gpu"})


def _phase(there: Nodes, opened: Any, expected: set[str]) -> dict[str, Any]:
    """Which nodes did its items, and how many GPUs were free at the last.

    There are 60 items at least, and as many as it takes until all nodes that are expected did some.
    """
    done: Counter[str] = Counter()
    with closing(opened) as pool:
        for node_id in pool.run(until(lambda: done.total() >= 60 and expected <= set(done))):
            done[there.name(node_id)] += 1
            free = ray.available_resources().get("GPU", 0.0)
        return {"nodes": sorted(done), "free GPUs": free}


SCENES = {"joining": joining, "gpus": gpus, "only GPUs": only_gpus}

if __name__ == "__main__":
    print(json.dumps(SCENES[sys.argv[1]]()), flush=True)
