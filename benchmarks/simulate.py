"""Runs the plan of a large corpus in simulated time: the product's scheduler, nodes lost and slow.

    python benchmarks/simulate.py [--chunks 1000000000] [--heads 32] [--dim 128] [--runs 3]
        [--seed 0] [--set lost_per_day=0.2] [--write]

The product's own functions cut the items and say which wait for which (`plan_items.py`); its
scheduler assigns them, tries them again and gives late ones twice (`simulated_nodes.py`). How long
an item takes comes from the measured figures and the assumptions of scale_plan.py, and so does what
a phase waits for the index's own searches and for the run's own process, which no lost node delays
here. How often a node is lost, and how slow the slowest are, are assumptions in `Faults`. Prints
the hours of each phase, and from the corpus to the live version, without faults and with them (the
worst of the runs). `--write` keeps the hours in figures/scale.json, and the table in
docs/scaling.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from figure import PAGE, SCALE, Figure, keep, put_in
from plan_items import (
    AnyLoadItem,
    collection_of,
    load_steps,
    reconcile_sizes,
    verify_items_of,
)
from scale_hours import (
    CALIBRATE,
    CPU_NODES,
    END_S,
    ENOUGH,
    LOAD,
    PUBLISH,
    RECONCILE,
    VERIFY,
    VERIFY_SEARCHES,
    embed_hours,
    shown,
    to_live,
    works,
)
from scale_plan import Assumed, Plan, planned
from simulated_nodes import NO_FAULTS, Faults, Item, Outcome, run_phase

from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.ingest.load_items import EndItem, is_whole, may_double

NODES, GPUS = (8, 32, 128), 64


@dataclass(frozen=True)
class Phase:
    """A phase's items."""

    name: str
    steps: tuple[list[Item], ...] = field(repr=False)  # each waits for all of the one before
    on_gpus: bool = False
    at_least_s: float = 0.0  # of the first step, whatever the number of nodes
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
    every, corpus = works(plan), plan.corpus
    embed_s = embed_hours(plan) * 3600 * plan.assumed.gpus
    yield Phase("embed", (_by_bytes([1] * plan.num_shards, embed_s),), on_gpus=True)
    reconcile = every[RECONCILE]
    items = _by_bytes(reconcile_sizes(corpus), reconcile.node_s)
    yield Phase("reconcile", (items,), driver_s=reconcile.driver_s)
    load = every[LOAD]
    yield Phase("load", _loads(plan, load.node_s), at_least_s=load.at_least_s)
    samples, compares = (
        # The largest first, as a verification gives them.
        sorted((item.num_bytes for item in items), reverse=True)
        for items in verify_items_of(corpus)
    )
    a_byte_s = every[VERIFY].node_s / (sum(samples) + sum(compares))
    yield Phase(
        "verify",
        tuple(_by_bytes(sizes, a_byte_s * sum(sizes)) for sizes in (samples, compares)),
        index_s=every[VERIFY_SEARCHES].node_s,
        driver_s=every[VERIFY].driver_s,
    )
    yield Phase(
        "calibrate and publish",
        (),
        index_s=every[CALIBRATE].node_s,
        driver_s=every[PUBLISH].driver_s,
    )


def _loads(plan: Plan, load_s: float) -> tuple[list[Item], ...]:
    """Half of the seconds are those of the heads, half of the chunks, by bytes."""
    steps, collections = load_steps(plan.corpus)
    rows = [item for items in steps for item in items if not isinstance(item, EndItem)]

    def is_of_chunks(item: AnyLoadItem) -> bool:
        return collections[collection_of(item)].kind == "chunks"

    bytes_of = {
        kind: sum(item.num_bytes for item in rows if is_of_chunks(item) is kind)
        for kind in (True, False)
    }

    def seconds(item: AnyLoadItem) -> float:
        if isinstance(item, EndItem):
            return END_S
        return load_s / 2 * item.num_bytes / bytes_of[is_of_chunks(item)]

    return tuple(
        [
            Item(item.index, item.num_bytes, seconds(item), is_whole(item), may_double(item))
            for item in items
        ]
        for items in steps
    )


def run(phase: Phase, nodes: int, faults: Faults, seeds: Sequence[int]) -> Took:
    """Once without faults, and once with each seed."""

    def seconds(own: Faults, seed: int) -> tuple[float, int, int]:
        outcomes: list[Outcome] = []
        for items in filter(None, phase.steps):
            outcomes.append(
                run_phase(
                    items,
                    nodes,
                    # Workers stay from one step to the next.
                    dataclasses.replace(own, start_s=0.0) if outcomes else own,
                    seed,
                    may_double=True,
                    max_limited=MilvusSpec().load_threads,
                )
            )
        took = [one.seconds for one in outcomes]
        if took:
            took[0] = max(took[0], phase.at_least_s)
        return (
            sum(took) + phase.index_s / nodes + phase.driver_s,
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
    faults = dataclasses.replace(Faults(), **_settings(options.set))
    plan = planned(options.chunks, options.heads, options.dim, Assumed(gpus=GPUS))
    if plan.run["chunks"] < ENOUGH:
        raise SystemExit("benchmarks/figures/scale_runs.json has no run of 100,000 chunks or more")
    size = f"{options.chunks:,} chunks x {options.heads} heads x {options.dim}"
    print(f"{size}; {faults}\n")
    lines: list[str] = []
    figures: dict[str, Figure] = {}
    live = dict.fromkeys(NODES, Took(0.0, 0.0, 0.0, 0.0, 0))

    def show(name: str, where: str, took: Took) -> None:
        hours = [round(value, 3) for value in (took.hours, max(took.hours, took.worst))]
        lines.append(
            f"| {name} | {took.items:,} | {where} | {shown(hours[0])} | {shown(hours[1])} "
            f"| {took.lost:.0f} | {took.twice:.1f} |"
        )
        print(lines[-1], flush=True)
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
    lines += ["", compared(plan, live[CPU_NODES])]
    print("\n".join(lines[-2:]))
    if options.write:
        plain = {name.replace("*", ""): one for name, one in figures.items()}
        keep(SCALE, plain, instead_of="simulated, ")
        put_in(PAGE, "simulation", "\n".join(lines))


def compared(plan: Plan, took: Took) -> str:
    """The plan's hours to the live version beside those of the simulation."""
    return (
        f"From corpus to live on {GPUS} GPUs and {CPU_NODES} nodes: planned "
        f"{to_live(plan, CPU_NODES):.1f} h, simulated {took.hours:.1f} h, and "
        f"{took.worst:.1f} h with nodes lost.\n"
        "In the simulation workers also start, and wait for the last items."
    )


def _by_bytes(sizes: Sequence[int], seconds: float) -> list[Item]:
    """Items that take so many seconds together, each as its bytes."""
    total = sum(sizes)
    return [Item(index, size, seconds * size / total) for index, size in enumerate(sizes)]


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
    options = parser.parse_args()
    changed = options.set or (options.chunks, options.heads, options.dim) != (10**9, 32, 128)
    if options.write and changed:
        parser.error("--write is for the plan of docs/scaling.md, without other settings")
    return options


if __name__ == "__main__":
    main()
