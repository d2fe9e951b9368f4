"""Hours and memory of a very large corpus by phase, and what a day would take: `scale_plan.py`."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from phase_rates import Memory, Searches, verify_bytes

from mrag_pipeline.stages.ingest.load_items import TEXT_BYTES
from mrag_pipeline.stages.ingest.reconcile_items import ITEM_SHARDS
from mrag_pipeline.stages.sync.compare_items import MARK_BYTES, MARKS_ROWS
from mrag_pipeline.stages.versions.stored_rows import BLOCK_ROWS

if TYPE_CHECKING:
    from scale_plan import Plan

GB = 1e9
ENOUGH = 100_000  # chunks; the seconds of smaller runs are mostly waiting and are not scaled
NODES = (1, 8, 32, 128)
CPU_NODES = 32  # of the aim
RECONCILE, LOAD, PUBLISH = "reconcile", "load, ranges of all collections", "publish"
VERIFY, VERIFY_SEARCHES = "verify, its items", "verify, searches of FLAT"
CALIBRATE = "calibrate, searches of FLAT"
TO_LIVE = (RECONCILE, LOAD, VERIFY, VERIFY_SEARCHES, CALIBRATE, PUBLISH)
# What would have to be true: what is known of it, settings, and how many times the CPU nodes.
A_DAY: tuple[tuple[str, str, dict[str, float], int], ...] = (
    ("no GPU waits for its shards' staging: two workers for each", "not measured",
     {"staging_waits": 0.0}, 1),
    ("twice the tokens a second: 128 GPUs, or twice as fast ones", "a GPU's rate is an assumption",
     {"gpus": 2}, 1),
    ("searches take a hundredth of FLAT's: an approximate index that loads as fast",
     "not measured", {"search_share": 0.01}, 1),
    ("bulk import is 1.75 times as fast as inserts, and needs no channels", "measured for a "
     "collection of a million rows; not that the imports of a cluster are done at the same time",
     {"load_times": 1.75, "channels": math.inf}, 1),
    ("twice the CPU nodes, and a Milvus that gains as much", "not measured", {}, 2),
)  # fmt: skip


def embed_hours(plan: Plan) -> float:
    """On all GPUs, with what a GPU waits for the writing of its shards."""
    tokens_s = plan.assumed.tokens / plan.assumed.gpu_tokens_s
    staging_s: float = plan.run["seconds"]["embed"] * plan.run["workers"] / plan.run["chunks"]
    each_s = tokens_s + staging_s * plan.assumed.staging_waits
    return plan.chunks * each_s / 3600 / plan.assumed.gpus


def hours_of(plan: Plan, nodes: int) -> dict[str, tuple[float, str]]:
    """The phases after embedding on so many nodes, and what each is computed from."""
    rates, of, searches = plan.rates, plan.rates.of, Searches(plan.width)
    numbers = 2 * plan.chunks * plan.width
    load = numbers * rates.load / plan.assumed.load_times
    read = sum(map(sum, verify_bytes(plan.chunks, plan.num_shards, plan.heads, plan.dim)))
    search = plan.chunks * rates.search * plan.assumed.search_share / nodes
    items = -(-plan.num_shards // ITEM_SHARDS)
    seconds = {
        RECONCILE: (rates.reconcile * plan.chunks / min(nodes, items), of["reconcile"]),
        # The chunks collection has half of the numbers, and so many channels that take rows.
        LOAD: (max(load / nodes, load / 2 / min(nodes, plan.assumed.channels)), of["load"]),
        VERIFY: (rates.verify * read / nodes, of["verify"]),
        VERIFY_SEARCHES: (searches.verify * search, of["search"]),
        CALIBRATE: (searches.calibrate * search, of["search"]),
        PUBLISH: (rates.publish, of["publish"]),
        "audit, its items": (rates.audit * numbers / nodes, of["audit"] + "; at most"),
        "audit, searches of FLAT": (searches.audit * search, of["search"]),
        "compare, of a sync": (rates.compare * plan.chunks / nodes, of["compare"] + "; at most"),
    }
    return {phase: (one / 3600, source) for phase, (one, source) in seconds.items()}


def to_live(plan: Plan, nodes: int) -> float:
    """Hours from the corpus to the live version."""
    hours = hours_of(plan, nodes)
    return embed_hours(plan) + sum(hours[phase][0] for phase in TO_LIVE)


def print_hours(plan: Plan) -> None:
    """Prints the hours of the phases by number of CPU nodes."""
    print(f"\n| Hours on nodes like this one | {' | '.join(map(str, NODES))} | from |")
    print("|---" * (len(NODES) + 2) + "|")
    columns = [hours_of(plan, nodes) for nodes in NODES]
    live = [f"{to_live(plan, nodes):,.1f}" for nodes in NODES]
    for phase, (_, source) in columns[0].items():
        hours = " | ".join(shown(column[phase][0]) for column in columns)
        print(f"| {phase} | {hours} | {source} |")
        if phase == PUBLISH:
            print(f"| **corpus to live**, {plan.assumed.gpus:.0f} GPUs | {' | '.join(live)} "
                  f"| embedding, {embed_hours(plan):.1f} h, and all above |")  # fmt: skip


def print_a_day(plan: Plan) -> None:
    """Prints what would have to be true for 24 hours, one thing after another."""
    if to_live(plan, CPU_NODES) < 24:
        return
    changed, nodes = plan, CPU_NODES
    print("\n| For a day from corpus to live | hours | known |\n|---|---:|---|")
    print(f"| as above, on {nodes} nodes | {to_live(changed, nodes):.1f} | |")
    for change, known, settings, times in A_DAY:
        new: dict[str, Any] = {
            name: value * plan.assumed.gpus if name == "gpus" else value
            for name, value in settings.items()
        }
        assumed = dataclasses.replace(changed.assumed, **new)
        changed = dataclasses.replace(changed, assumed=assumed)
        nodes *= times
        print(f"| and {change} | {to_live(changed, nodes):.1f} | {known} |")


def print_memory(plan: Plan) -> None:
    """Prints the memory of the processes by phase."""
    known = Memory.known(plan.runs)
    each = plan.chunks / plan.shards
    vectors, rows = each * plan.width * 8, each * (plan.width * 4 + TEXT_BYTES)
    print("\n| Memory, GB | driver | a worker | grows with |\n|---|---:|---:|---|")
    shard = "a shard's vectors, as measured from 100,000 to a million chunks"
    widest = "a shard of the widest collection, at most as measured there"
    on_disk = f"8 bytes of disk a chunk and 24 a document; a worker: {BLOCK_ROWS:,} rows"
    for phase, worker, why in (
        ("embed", known.embed * vectors, f"{shard}; the model is not counted"),
        ("reconcile", known.reconcile * rows, f"{widest}; 16 bytes of disk a chunk"),
        ("load", known.load * rows, widest),
        ("verify", known.verify * rows, widest),
        ("audit", BLOCK_ROWS * plan.width * 8, f"a line for each staged shard; {on_disk}"),
        ("compare", MARKS_ROWS * MARK_BYTES, "28 bytes of disk a document and a chunk"),
    ):
        of_worker = known.driver + worker
        print(f"| {phase} | {known.driver / GB:.1f} | {of_worker / GB:.1f} | {why} |")


def shown(hours: float) -> str:
    """To a tenth; less than one with two digits."""
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}"
