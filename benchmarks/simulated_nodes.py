"""A cluster's nodes in simulated time, on which the product's scheduler does its items.

Items, their assignment, second tries and late copies are those of `runtime/ray_pool.py`, on a clock
that jumps from event to event. Every item is checked to be answered once.
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from ray.exceptions import ActorDiedError

from mrag_pipeline.domain.dispatch import Limit
from mrag_pipeline.runtime import ray_pool, ray_workers
from mrag_pipeline.runtime.ray_workers import Worker
from mrag_pipeline.runtime.worker_lines import Done
from mrag_pipeline.settings.workers import WorkersSpec


@dataclass(frozen=True)
class Faults:
    """Assumptions, none measured: what goes wrong with a node."""

    lost_per_day: float = 0.2  # times that a node is lost: spot instances taken back, crashes
    back_s: float = 300.0  # until another is in its place and its worker is up
    seen_s: float = 65.0  # until Ray notices, by its default settings
    slow_share: float = 0.02  # of nodes
    slow_times: float = 3.0  # as long as the others
    spread: float = 0.1  # of the logarithm of an item's time
    start_s: float = 60.0  # of a worker, model included


NO_FAULTS = Faults(0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Item:
    """An item, and how long it takes on an ordinary node."""

    index: int
    num_bytes: int
    seconds: float
    is_limited: bool = False  # of such items only so many are done at a time
    may_double: bool = True  # whether two workers may do it at once


@dataclass
class Outcome:
    """What became of a phase."""

    seconds: float
    lost_workers: int
    done: int  # times that an item was done to its end, late copies counted
    wasted_s: float  # of workers, on items that another had done or that were lost


class Ref:
    """What `ray.wait` waits for."""

    def __init__(self, at: float, value: Any) -> None:
        self.at = at
        self.value = value  # or the error that getting it raises


class Clock:
    """Time that passes by `FakeRay.wait` only."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


class Actor:
    """A node's worker: does its items one after the other, until the node is lost."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.free_at = world.clock.now + world.faults.start_s
        self.times = world.faults.slow_times if world.is_slow() else 1.0
        self.lost_at = world.clock.now + world.lifetime_s()
        self.do = SimpleNamespace(remote=self._do)

    def up(self) -> Ref:
        """Ready when the worker is up."""
        return self._ref(self.free_at, "node")

    def _do(self, item: Item) -> Ref:
        began = max(self.free_at, self.world.clock.now)
        took = item.seconds * self.times * self.world.noise()
        self.free_at = began + took
        if self.free_at < self.lost_at:
            self.world.done[item.index] += 1
        self.world.worked_s += max(0.0, min(self.free_at, self.lost_at) - began)
        return self._ref(self.free_at, Done(item.index))

    def _ref(self, at: float, value: Any) -> Ref:
        if at < self.lost_at:
            return Ref(at, value)
        return Ref(self.lost_at + self.world.faults.seen_s, ActorDiedError())


class World:
    """The nodes, in the place of Ray and of `WorkerGroup`."""

    def __init__(self, nodes: int, faults: Faults, seed: int) -> None:
        self.clock = Clock()
        self.faults = faults
        self.workers: list[Worker] = []
        self.plan = SimpleNamespace(on_gpu=False, threads=1, count=nodes, gpus=0)
        self.done: Counter[int] = Counter()
        self.worked_s = 0.0
        self.lost = 0
        self._random = random.Random(seed)

    # ---------------------------------------------------------------- chance
    def is_slow(self) -> bool:
        """Whether a new node is one of the slow ones."""
        return self._random.random() < self.faults.slow_share

    def lifetime_s(self) -> float:
        """Until a new node is lost."""
        per_s = self.faults.lost_per_day / 86_400
        return self._random.expovariate(per_s) if per_s else math.inf

    def noise(self) -> float:
        """How much longer than usual an item takes."""
        return math.exp(self._random.gauss(0.0, self.faults.spread)) if self.faults.spread else 1.0

    # ---------------------------------------------------------------- of WorkerGroup
    def hire(self, at_most: int) -> None:
        """All nodes, at once."""
        for _ in range(min(self.plan.count, at_most) - len(self.workers)):
            actor = Actor(self)
            self.workers.append(Worker(actor, actor.up()))

    def replace(self, worker: Worker) -> None:
        """Another node comes."""
        self.lost += 1
        actor = Actor(self)
        actor.free_at += self.faults.back_s
        worker.actor, worker.starting, worker.last = actor, actor.up(), None
        worker.flight.clear()

    def follow_nodes(self, useful: int) -> None:
        """There are always as many nodes: `replace` brings another."""

    def end_busy(self) -> None:
        """Nothing to end."""

    # ---------------------------------------------------------------- of ray
    def wait(
        self,
        refs: list[Ref],
        num_returns: int,  # noqa: ARG002  # ray's
        timeout: float,  # noqa: ARG002
    ) -> tuple[list[Ref], list[Ref]]:
        """Time passes until the next is ready; waiting for a tick would only look again."""
        first = min(refs, key=lambda ref: ref.at)
        self.clock.now = max(self.clock.now, first.at)
        return [first], [ref for ref in refs if ref is not first]

    @staticmethod
    def get(ref: Ref) -> Any:
        """The value, or its error."""
        if isinstance(ref.value, Exception):
            raise ref.value
        return ref.value


def run_phase(
    items: list[Item],
    nodes: int,
    faults: Faults,
    seed: int,
    may_double: bool,
    max_limited: int | None = None,
) -> Outcome:
    """The product's scheduler does the items on so many simulated nodes.

    Args:
        max_limited: how many items that are limited are done at a time.
    """
    limit = None if max_limited is None else Limit(max_limited, lambda item: item.is_limited)
    world = World(nodes, faults, seed)
    with (
        patch.multiple(ray_pool, ray=world, time=world.clock, check_alive=lambda: None),
        patch.multiple(ray_workers, time=world.clock),
    ):
        run = ray_pool._Run(
            world,  # type: ignore[arg-type]
            items,
            WorkersSpec(),
            "item",
            repeats_errors=False,
            may_double=lambda item: may_double and item.may_double,
            limit=limit,
        )
        answered = list(run.answers())
    numbers = sorted(item.index for item in items)
    assert sorted(answered) == numbers, "an item has no answer, or two"
    useful_s = sum(item.seconds for item in items)
    return Outcome(world.clock.now, world.lost, sum(world.done.values()), world.worked_s - useful_s)
