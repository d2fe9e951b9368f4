"""Runs the plan of a large corpus in simulated time: the product's scheduler, nodes lost and slow.

    python benchmarks/simulate.py [--chunks 1000000000] [--heads 32] [--dim 128] [--runs 3]
        [--seed 0] [--set lost_per_day=0.2] [--write]

Items are cut as the product cuts them; its scheduler assigns them, tries them again and gives late
ones twice (`simulated_nodes.py`). How long an item takes comes from the measured figures and the
assumptions of scale_plan.py, and so does what a phase waits for the index's own searches, which no
lost node delays here. How often a node is lost, and how slow the slowest are, are assumptions in
`Faults`. Prints the hours of each phase, and from the corpus to the live version, without faults
and with them (the worst of the runs). `--write` keeps the hours in figures/scale.json, and the
table in docs/scaling.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import PAGE, SCALE, Figure, keep, put_in
from phase_rates import verify_bytes
from scale_hours import CALIBRATE, ENOUGH, PUBLISH, VERIFY_SEARCHES, embed_hours, hours_of
from scale_plan import Assumed, Plan, planned, settings_of
from simulated_nodes import NO_FAULTS, Faults, Item, run_phase

from mrag_pipeline.ports import CollectionKind
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.ingest.load_items import MAX_RANGES
from mrag_pipeline.stages.ingest.reconcile_items import ITEM_SHARDS

RANGE_BYTES = MilvusSpec().range_mb * 1e6
NODES, GPUS = (8, 32, 128), 64


@dataclass(frozen=True)
class Phase:
    """A phase's items."""

    name: str
    steps: tuple[list[Item], ...] = field(repr=False)  # each waits for all of the one before
    on_gpus: bool = False
    at_least_s: float = 0.0  # whatever the number of nodes
    index_s: float = 0.0  # of a node: work of the index that no item does, spread over the nodes
    driver_s: float = 0.0  # of the run's own process

    @property
    def num_items(self) -> int:
        """Of all steps."""
        return sum(map(len, self.steps))


@dataclass(frozen=True)
class Took:
    """Hours of a phase, or of several one after the other."""

    hours: float
    worst: float  # of the runs with faults
    lost: float  # nodes
    done: float  # items, late copies counted
    items: int

    def __add__(self, after: Took) -> Took:
        """Both, one after the other: the worst of each."""
        return Took(*(
            getattr(self, one.name) + getattr(after, one.name) for one in dataclasses.fields(self)
        ))  # fmt: skip

    @property
    def twice(self) -> float:
        """Per cent of the items that were done twice."""
        return 100 * (self.done / self.items - 1) if self.items else 0.0


def phases(plan: Plan) -> Iterator[Phase]:
    """From the corpus to the live version, cut as the product cuts them."""
    chunks, rates, shards = plan.chunks, plan.rates, plan.num_shards
    embed_s = embed_hours(plan) * 3600 * plan.assumed.gpus
    yield Phase("embed", (_equal(embed_s, shards),), on_gpus=True)
    reconcile_s = rates.reconcile * chunks
    yield Phase("reconcile", (_equal(reconcile_s, math.ceil(shards / ITEM_SHARDS)),))
    # Half of the numbers are the heads', half the chunks'.
    # The largest first, as the load gives them.
    load_s = 2 * chunks * plan.width * rates.load
    items = _equal(load_s / 2, _ranges("chunks", chunks * plan.width * 4))
    head_ranges = plan.heads * _ranges("head", chunks * plan.dim * 4)
    items += _equal(load_s / 2, head_ranges, first=len(items))
    yield Phase("load", (items,), at_least_s=load_s / 2 / plan.assumed.channels)
    samples, compares = verify_bytes(chunks, shards, plan.heads, plan.dim)
    on_one = hours_of(plan, 1)
    yield Phase(
        "verify",
        (_by_bytes(samples, rates.verify), _by_bytes(compares, rates.verify)),
        index_s=3600 * on_one[VERIFY_SEARCHES][0],
    )
    yield Phase(
        "calibrate and publish",
        (),
        index_s=3600 * on_one[CALIBRATE][0],
        driver_s=3600 * on_one[PUBLISH][0],
    )


def run(phase: Phase, nodes: int, faults: Faults, seeds: Sequence[int]) -> Took:
    """Once without faults, and once with each seed."""

    def seconds(own: Faults, seed: int) -> tuple[float, int, int]:
        outcomes = [run_phase(items, nodes, own, seed, may_double=True) for items in phase.steps]
        items_s = max(sum(one.seconds for one in outcomes), phase.at_least_s)
        return (
            items_s + phase.index_s / nodes + phase.driver_s,
            sum(one.lost_workers for one in outcomes),
            sum(one.done for one in outcomes),
        )

    calm_s, _, _ = seconds(NO_FAULTS, 0)
    rough = [seconds(faults, seed) for seed in seeds]
    return Took(
        calm_s / 3600,
        max(one for one, _, _ in rough) / 3600,
        statistics.mean(lost for _, lost, _ in rough),
        statistics.mean(done for _, _, done in rough),
        phase.num_items,
    )


def main() -> None:
    """Prints a row for each phase and number of nodes, then those from corpus to live."""
    options = _arguments()
    faults = dataclasses.replace(Faults(), **settings_of(Faults, options.set))
    plan = planned(options.chunks, options.heads, options.dim, Assumed(gpus=GPUS))
    if plan.run["chunks"] < ENOUGH:
        raise SystemExit("benchmarks/figures/scale_runs.json has no run of 100,000 chunks or more")
    size = f"{options.chunks:,} chunks x {options.heads} heads x {options.dim}"
    print(f"{size}; {faults}\n")
    lines: list[str] = []
    figures: dict[str, Figure] = {}
    live = dict.fromkeys(NODES, Took(0.0, 0.0, 0.0, 0.0, 0))

    def show(name: str, where: str, took: Took) -> None:
        lines.append(
            f"| {name} | {took.items:,} | {where} | {took.hours:.1f} | {took.worst:.1f} "
            f"| {took.lost:.0f} | {took.twice:.1f} |"
        )
        print(lines[-1], flush=True)
        hours = [round(value, 2) for value in (took.hours, max(took.hours, took.worst))]
        named = f"simulated, {size}: {name} on {where}"
        figures[named] = {"value": hours[0], "low": hours[0], "high": hours[1], "unit": "h"}

    for line in ("| phase | items | on | hours | with faults | nodes lost | done twice, % |",
                 "|---|---|---|---|---|---|---|"):  # fmt: skip
        lines.append(line)
        print(line)
    seeds = range(options.seed, options.seed + options.runs)
    for phase in phases(plan):
        for nodes in (GPUS,) if phase.on_gpus else NODES:
            took = run(phase, nodes, faults, seeds)
            show(phase.name, f"{nodes} {'GPUs' if phase.on_gpus else 'nodes'}", took)
            for number in live if phase.on_gpus else (nodes,):
                live[number] += took
    for nodes, took in live.items():
        show("**corpus to live**", f"{GPUS} GPUs, {nodes} nodes", took)
    if options.write:
        plain = {name.replace("*", ""): one for name, one in figures.items()}
        keep(SCALE, plain, instead_of="simulated, ")
        put_in(PAGE, "simulation", "\n".join(lines))


def _ranges(kind: CollectionKind, num_bytes: float) -> int:
    return max(1, min(MAX_RANGES[kind], math.ceil(num_bytes / RANGE_BYTES)))


def _equal(seconds: float, number: int, first: int = 0) -> list[Item]:
    return [Item(index, 1_000_000, seconds / number) for index in range(first, first + number)]


def _by_bytes(sizes: list[int], seconds_a_byte: float) -> list[Item]:
    """The largest first, as a verification gives them."""
    sizes = sorted(sizes, reverse=True)
    return [Item(index, size, size * seconds_a_byte) for index, size in enumerate(sizes)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=1_000_000_000)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    changed = options.set or (options.chunks, options.heads, options.dim) != (10**9, 32, 128)
    if options.write and changed:
        parser.error("--write is for the plan of docs/scaling.md, without other settings")
    return options


if __name__ == "__main__":
    main()
