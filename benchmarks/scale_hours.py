"""Hours and memory of a very large corpus by phase, and what a day would take: `scale_plan.py`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phase_rates import Memory, Searches, of_run
from plan_items import channels_of_chunks, verify_bytes

from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.ingest.load_items import TEXT_BYTES

if TYPE_CHECKING:
    from scale_plan import Plan

GB = 1e9
ENOUGH = 100_000  # chunks; the seconds of smaller runs are mostly waiting and are not scaled
NODES = (1, 8, 32, 128)
CPU_NODES = 32  # of the aim
AS_MEASURED = 2  # cores of a node
LARGE_NODE = 16  # cores of a larger one, for comparison
# Of one collection's flush, index and load into memory: FLAT, 200,000 rows (decision 38).
END_S = 8.0
RECONCILE, LOAD, PUBLISH = "reconcile", "load, ranges of all collections", "publish"
LOAD_ENDS = "load, collections indexed and loaded"
VERIFY, VERIFY_SEARCHES = "verify, its items", "verify, searches of FLAT"
CALIBRATE = "calibrate, searches of FLAT"
TO_LIVE = (RECONCILE, LOAD, LOAD_ENDS, VERIFY, VERIFY_SEARCHES, CALIBRATE, PUBLISH)


@dataclass(frozen=True)
class Work:
    """What a phase, or a part of one, takes."""

    source: str
    node_s: float = 0.0  # of nodes as measured, divided over them
    driver_s: float = 0.0  # of the run's own process, whatever the nodes
    at_least_s: float = 0.0  # of the items, whatever the nodes
    why: str = ""

    def seconds(self, nodes: float) -> float:
        """On so many nodes as measured."""
        return max(self.node_s / nodes, self.at_least_s) + self.driver_s

    def limit(self, nodes: float) -> str:
        """What takes the most of its time on so many nodes."""
        spread_s = self.node_s / nodes
        if self.driver_s > max(spread_s, self.at_least_s):
            return "the run's own process"
        return "the nodes" if spread_s > self.at_least_s else self.why


def embed_hours(plan: Plan) -> float:
    """On all GPUs, with what a GPU waits for the writing of its shards."""
    tokens_s = plan.assumed.tokens / plan.assumed.gpu_tokens_s
    staging_s: float = plan.run["seconds"]["embed"] * plan.run["workers"] / plan.run["chunks"]
    each_s = tokens_s + staging_s * plan.assumed.staging_waits
    return plan.chunks * each_s / 3600 / plan.assumed.gpus


def works(plan: Plan) -> dict[str, Work]:
    """The phases after embedding."""
    rates, chunks, width, heads = plan.rates, plan.chunks, plan.width, plan.heads
    searches, numbers = Searches(width), 2 * chunks * width
    load_s = numbers * rates.load.node_s / plan.assumed.load_times
    # The chunks collection has half of the numbers. So many channels take its rows, each with a
    # node as measured, however many cores a node has.
    channels = plan.assumed.channels
    if math.isfinite(channels):
        channels = min(channels, channels_of_chunks(plan.corpus))
    channels_s = load_s / 2 / channels
    rounds = math.ceil(heads / MilvusSpec().load_threads) + 1  # the chunks' is the last
    read = verify_bytes(plan.corpus)
    search_s = chunks * rates.search.node_s * plan.assumed.search_share
    ids_s, staged_ids_s = chunks * rates.ids.driver_s, chunks * rates.staged_ids.driver_s
    reconcile, verify, audit, compare = rates.reconcile, rates.verify, rates.audit, rates.compare
    return {
        RECONCILE: Work(reconcile.source, reconcile.node_s * chunks, reconcile.driver_s * chunks),
        LOAD: Work(
            rates.load.source,
            load_s,
            at_least_s=channels_s,
            why=f"{channels:g} channels of the chunks",
        ),
        LOAD_ENDS: Work(
            f"{END_S:g} s each, {MilvusSpec().load_threads} at a time; decision 38",
            at_least_s=END_S * rounds,
            why="`milvus.load_threads`",
        ),
        VERIFY: Work(verify.source, verify.node_s * read, verify.driver_s * read),
        VERIFY_SEARCHES: Work(rates.search.source, searches.verify * search_s),
        CALIBRATE: Work(rates.search.source, searches.calibrate * search_s),
        PUBLISH: Work(rates.publish.source, driver_s=rates.publish.driver_s),
        "audit, its items": Work(audit.source, audit.node_s * numbers, audit.driver_s * chunks),
        "audit, searches of FLAT": Work(rates.search.source, searches.audit * search_s),
        "audit, ids that the run's own process reads": Work(
            f"{rates.ids.source}; of staging, {rates.staged_ids.source}",
            driver_s=ids_s + staged_ids_s,
        ),
        "audit, ids that items read": Work(
            rates.ids.source,
            heads * ids_s / 2,  # a node has two workers
            at_least_s=ids_s,
            why="an item is a collection",
        ),
        "compare, of a sync": Work(
            f"{compare.source}, on an index of files",
            compare.node_s * chunks,
            compare.driver_s * chunks,
        ),
    }


def as_measured(plan: Plan, nodes: int) -> float:
    """How many nodes as measured so many of the plan's are."""
    return nodes * plan.assumed.node_cores / AS_MEASURED


def to_live(plan: Plan, nodes: int) -> float:
    """Hours from the corpus to the live version."""
    return embed_hours(plan) + after_embedding(plan, nodes)


def after_embedding(plan: Plan, nodes: int) -> float:
    """Hours from the last shard to the live version."""
    every, equal = works(plan), as_measured(plan, nodes)
    return sum(every[phase].seconds(equal) for phase in TO_LIVE) / 3600


def print_hours(plan: Plan) -> None:
    """Prints the hours of the phases by number of CPU nodes."""
    cores, last = plan.assumed.node_cores, NODES[-1]
    print(
        f"\n| Hours on nodes of {cores:g} cores | {' | '.join(map(str, NODES))} "
        f"| of it the run's own process | most of it on {last} | from |"
    )
    print("|---" * (len(NODES) + 4) + "|")
    larger = changed(plan, {"node_cores": LARGE_NODE})
    for phase, work in works(plan).items():
        hours = " | ".join(shown(work.seconds(as_measured(plan, nodes)) / 3600) for nodes in NODES)
        own, limit = shown(work.driver_s / 3600), work.limit(as_measured(plan, last))
        print(f"| {phase} | {hours} | {own} | {limit} | {work.source} |")
        if phase == PUBLISH:
            _print_live(f"**corpus to live**, {plan.assumed.gpus:g} GPUs", plan)
            _print_live(f"corpus to live on nodes of {LARGE_NODE} cores", larger)


def _print_live(name: str, plan: Plan) -> None:
    live = " | ".join(f"{to_live(plan, nodes):,.1f}" for nodes in NODES)
    own = shown(sum(works(plan)[phase].driver_s for phase in TO_LIVE) / 3600)
    embedding = f"embedding, {embed_hours(plan):.1f} h, and all above"
    if plan.assumed.node_cores != AS_MEASURED:
        embedding += ", if all but the channels gain as much as there are cores: not measured"
    print(f"| {name} | {live} | {own} | | {embedding} |")


def a_day(plan: Plan) -> list[tuple[str, str, Mapping[str, Any]]]:
    """What would have to be true, one thing after another: what is known of it, and settings."""
    times = plan.rates.import_times
    return [
        (
            "no GPU waits for its shards' staging: two workers for each",
            "not measured",
            {"staging_waits": 0.0},
        ),
        (
            f"twice the tokens a second: {2 * plan.assumed.gpus:g} GPUs, or twice as fast ones",
            "a GPU's rate is an assumption",
            {"gpus": 2 * plan.assumed.gpus},
        ),
        (
            f"nodes of {LARGE_NODE} cores, and a Milvus that gains as much but for its channels",
            "not measured",
            {"node_cores": LARGE_NODE},
        ),
        (
            "bulk import of all collections, also the chunks, needs no channels",
            f"on 2 cores it is {times:.2f} times as fast as inserts for 12 collections of 200,000 "
            "rows, and was 1.75 times as fast for one of a million on 2026-11-23; that a cluster "
            "imports on all its nodes was not measured",
            {"load_times": times, "channels": math.inf},
        ),
    ]


def print_a_day(plan: Plan) -> None:
    """Prints what would have to be true for 24 hours, one thing after another."""
    if to_live(plan, CPU_NODES) < 24:
        return
    print("\n| For a day from corpus to live | hours | known |\n|---|---:|---|")
    cores = plan.assumed.node_cores
    print(f"| as above, on {CPU_NODES} nodes of {cores:g} cores "
          f"| {to_live(plan, CPU_NODES):.1f} | |")  # fmt: skip
    now = plan
    for change, known, settings in a_day(plan):
        now = changed(now, settings)
        print(f"| and {change} | {to_live(now, CPU_NODES):.1f} | {known} |")


def changed(plan: Plan, settings: Mapping[str, Any]) -> Plan:
    """The plan with other assumptions."""
    return dataclasses.replace(plan, assumed=dataclasses.replace(plan.assumed, **settings))


def print_memory(plan: Plan) -> None:
    """Prints the memory of the processes by phase."""
    known = Memory.known(plan.runs)
    each = plan.chunks / plan.shards
    vectors, rows = each * plan.width * 8, each * (plan.width * 4 + TEXT_BYTES)
    print(
        "\n| Memory, GB, on any number of nodes | driver | a worker | a node of "
        f"{plan.assumed.node_cores:g} cores | a node of {LARGE_NODE} | grows with |"
    )
    print("|---|---:|---:|---:|---:|---|")
    shard = f"a shard's vectors, from 100,000 to a million chunks ({of_run(plan.run)})"
    widest = f"a shard of the widest collection, at most ({of_run(plan.run)})"
    blocks, ids = "500 bytes for 4,000 chunks", "8 bytes of disk a chunk and a document"
    for phase, a_chunk, worker, why in (
        ("embed", 0, known.embed * vectors, f"{shard}; the model is not counted"),
        ("reconcile", 0, known.reconcile * rows, f"{widest}; {ids}"),
        ("load", 0, known.load * rows, widest),
        ("verify", 0, known.verify * rows, widest),
        ("audit", 0.125, 4_000 * plan.width * 8, f"{blocks}; {ids}; a worker: 4,000 rows"),
        ("compare", 0, 64_000 * 100, "28 bytes of disk a document and a chunk"),
    ):
        driver = (known.driver + a_chunk * plan.chunks) / GB
        of_worker = (known.driver + worker) / GB
        of_nodes = [f"{of_worker * cores:,.1f}" for cores in (plan.assumed.node_cores, LARGE_NODE)]
        if phase == "embed":  # on GPUs
            of_nodes = ["", ""]
        print(f"| {phase} | {driver:.1f} | {of_worker:.1f} | {' | '.join(of_nodes)} | {why} |")


def shown(hours: float) -> str:
    """To a tenth; less than one with two digits."""
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}"
