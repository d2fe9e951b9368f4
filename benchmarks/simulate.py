"""Runs the plan of a large corpus in simulated time: the product's scheduler, nodes lost and slow.

    python benchmarks/simulate.py [--chunks 1000000000] [--heads 32] [--dim 128] [--runs 3]
        [--seed 0] [--set lost_per_day=0.2] [--write]

Items, their assignment, second tries and late copies are those of `runtime/ray_pool.py`, on a clock
that jumps from event to event. How long an item takes comes from the measured figures and the
assumptions of scale_plan.py; how often a node is lost, and how slow the slowest are, are
assumptions in `Faults`. Prints the hours of each phase by number of nodes, without faults and with
them (the worst of the runs). Every item is checked to be answered once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from ray.exceptions import ActorDiedError
from scale_plan import CHANNELS, ENOUGH, FIGURES, ITEM_SHARDS, Assumed, Plan, _of_shape

from mrag_pipeline.ports import CollectionKind
from mrag_pipeline.runtime import ray_pool, ray_workers
from mrag_pipeline.runtime.ray_workers import Worker
from mrag_pipeline.settings.workers import WorkersSpec
from mrag_pipeline.stages.ingest.load_items import MAX_RANGES

RESULTS = FIGURES / "simulation.json"
RANGE_BYTES = 4_096e6  # milvus.range_mb


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
        return self._ref(self.free_at, item.index)

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
    items: list[Item], nodes: int, faults: Faults, seed: int, may_double: bool
) -> Outcome:
    """The product's scheduler does the items on so many simulated nodes."""
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
            may_double=lambda _: may_double,
        )
        answered = list(run.answers())
    assert sorted(answered) == [item.index for item in items], "an item has no answer, or two"
    useful_s = sum(item.seconds for item in items)
    return Outcome(world.clock.now, world.lost, sum(world.done.values()), world.worked_s - useful_s)


@dataclass(frozen=True)
class Phase:
    """A phase's items."""

    name: str
    items: list[Item] = field(repr=False)
    on_gpus: bool
    may_double: bool = True
    at_least_s: float = 0.0  # whatever the number of nodes


def phases(plan: Plan) -> Iterator[Phase]:
    """The phases of the plan, cut as the product cuts them."""
    assumed = plan.assumed
    shards = math.ceil(plan.shards)
    tokens = plan.chunks * assumed.tokens
    staging_s = plan.run["seconds"]["embed"] * plan.run["workers"] / plan.run["chunks"]
    embed_s = tokens / assumed.gpu_tokens_s + plan.chunks * staging_s
    yield Phase("embed", _equal(embed_s, shards), on_gpus=True)
    scale = plan.chunks / plan.run["chunks"]
    reconcile_s, load_s = (plan.run["seconds"][phase] * scale for phase in ("reconcile", "load"))
    yield Phase("reconcile", _equal(reconcile_s, math.ceil(shards / ITEM_SHARDS)), on_gpus=False)
    # Half of the numbers are the heads', half the chunks'.
    # The largest first, as the load gives them.
    items = _equal(load_s / 2, _ranges("chunks", plan.chunks * plan.width * 4))
    head_ranges = plan.heads * _ranges("head", plan.chunks * plan.dim * 4)
    items += _equal(load_s / 2, head_ranges, first=len(items))
    yield Phase("load", items, on_gpus=False, at_least_s=load_s / 2 / CHANNELS)


def _ranges(kind: CollectionKind, num_bytes: float) -> int:
    return max(1, min(MAX_RANGES[kind], math.ceil(num_bytes / RANGE_BYTES)))


def _equal(seconds: float, number: int, first: int = 0) -> list[Item]:
    return [Item(index, 1_000_000, seconds / number) for index in range(first, first + number)]


def main() -> None:
    """Prints a table for each number of nodes."""
    options = _arguments()
    faults = dataclasses.replace(Faults(), **_settings(options.set))
    scale: dict[str, Any] = json.loads((FIGURES / "scale_runs.json").read_text())
    run = _of_shape(list(scale.values()), options.heads, options.dim)
    if run["chunks"] < ENOUGH:
        raise SystemExit("benchmarks/figures/scale_runs.json has no run of 100,000 chunks or more")
    plan = Plan(options.chunks, options.heads, options.dim, Assumed(), run, {})
    figures: dict[str, Any] = {"faults": dataclasses.asdict(faults), "hours": {}}
    print(f"{options.chunks:,} chunks x {options.heads} heads x {options.dim}; {faults}\n")
    print("| phase | items | nodes | hours | with faults | nodes lost | done twice, % |")
    print("|---|---|---|---|---|---|---|")
    for phase in phases(plan):
        for nodes in (64,) if phase.on_gpus else (8, 32, 128):
            calm = run_phase(phase.items, nodes, NO_FAULTS, 0, phase.may_double)
            rough = [
                run_phase(phase.items, nodes, faults, options.seed + number, phase.may_double)
                for number in range(options.runs)
            ]
            hours = max(calm.seconds, phase.at_least_s) / 3600
            worst = max(max(one.seconds, phase.at_least_s) for one in rough) / 3600
            twice = statistics.mean(one.done / len(phase.items) - 1 for one in rough)
            lost = statistics.mean(one.lost_workers for one in rough)
            figures["hours"][f"{phase.name}, {nodes} nodes"] = {
                "hours": round(hours, 2),
                "worst": round(worst, 2),
                "lost": lost,
            }
            what = "GPUs" if phase.on_gpus else "nodes"
            print(
                f"| {phase.name} | {len(phase.items):,} | {nodes} {what} | {hours:.1f} "
                f"| {worst:.1f} | {lost:.0f} | {100 * twice:.1f} |",
                flush=True,
            )
    if options.write:
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")


def _settings(given: list[str]) -> dict[str, float]:
    known = {one.name for one in dataclasses.fields(Faults)}
    settings = dict(text.split("=", 1) for text in given)
    if unknown := settings.keys() - known:
        raise SystemExit(f"unknown: {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
    return {name: float(value) for name, value in settings.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=1_000_000_000)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
