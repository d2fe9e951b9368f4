"""Requests of a very large corpus to the object store, by phase: for `scale_plan.py`.

How many there are does not depend on the number of nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phase_rates import of_run
from plan_items import verify_reads

if TYPE_CHECKING:
    from scale_plan import Plan

RECEIPTS = 1_024  # kept in memory; see staging/shards.py
WORKER_GETS = 2  # a worker checks whether a shard is done before it embeds and before it writes
AT_ONCE = 16  # GETs that a driver waits for


def requests_of(plan: Plan) -> dict[str, tuple[float, float, str]]:
    """By phase: those that write and list, those that read, and what they are computed from."""
    shards, heads = plan.shards, plan.heads
    measured, of_shard = plan.run["requests"], plan.run["shards"]

    def each(phase: str, verb: str) -> float:
        return float(measured[phase].get(verb, 0) / of_shard)

    # A receipt that is dropped from memory is read again with each file of its shard.
    again = float(shards > RECEIPTS)
    of_run_too = of_run(plan.run)
    with_receipts = f"{of_run_too}; each file's receipt again" if again else of_run_too
    size = plan.chunks / shards
    written = heads * _puts(plan, size * plan.dim * 4) + 4
    written += _puts(plan, size * (plan.width * 4 + plan.assumed.chars))
    files = heads + 5  # of a shard
    return {
        "plan": (0.0, each("plan", "GET") * shards, of_run_too),
        "embed": (
            written * shards,
            (each("embed", "GET") + WORKER_GETS) * shards,
            "a shard's files; parts of large ones counted",
        ),
        "reconcile": (
            each("reconcile", "LIST") * shards,
            (each("reconcile", "GET") + again) * shards,
            with_receipts,
        ),
        "load": (
            each("load", "LIST") * shards,
            (each("load", "GET") + again * (heads + 1)) * shards,
            with_receipts,
        ),
        "verify": (
            each("verify", "LIST") * shards,
            (1 + again) * verify_reads(plan.corpus),
            "the files that its items read",
        ),
        "audit": (shards, (files + 1 + again) * shards, "every file, and ids again: computed"),
    }


def print_requests(plan: Plan) -> None:
    """Prints a row for each phase, and those of all to the live version."""
    print(
        "\n| Requests to the object store, thousands, on any number of nodes | PUT and LIST "
        "| GET | price | from |\n|---|---:|---:|---:|---|"
    )
    puts = gets = 0.0
    for phase, (own_puts, own_gets, source) in requests_of(plan).items():
        if phase == "audit":
            _print(plan, "**corpus to live**", puts, gets, "all above")
        _print(plan, phase, own_puts, own_gets, source)
        puts, gets = puts + own_puts, gets + own_gets
        if phase == "verify":
            waits_h = gets * plan.assumed.request_s / AT_ONCE / 3600
    print(f"\nOf GETs alone, {AT_ONCE} at once, {waits_h:.1f} h of waiting to the live version.")


def _print(plan: Plan, phase: str, puts: float, gets: float, source: str) -> None:
    price = puts / 1e3 * plan.assumed.put_thousand + gets / 1e3 * plan.assumed.get_thousand
    cells = f"{puts / 1e3:,.1f} | {gets / 1e3:,.1f} | ${price:,.2f}"
    print(f"| {phase} | {cells} | {source} |")


def _puts(plan: Plan, num_bytes: float) -> float:
    """Requests that write a file: one, or those of a multipart upload."""
    parts = num_bytes / (plan.assumed.part_mb * 1e6)
    return 1 if parts < 1 else 2 + -(-parts // 1)
