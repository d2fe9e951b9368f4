"""The simulation of a large load runs the product's own scheduler."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

with pytest.MonkeyPatch.context() as patch:  # its scripts are run, so it is no package of ours
    patch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    from plan_items import reconcile_sizes
    from scale_hours import END_S, LOAD, VERIFY, works
    from scale_plan import Assumed, planned
    from simulate import Phase, Took, phases, run
    from simulated_nodes import NO_FAULTS, Faults, Item, run_phase

ITEMS = [Item(number, 1_000, 10.0) for number in range(200)]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize(("nodes", "seconds"), [(1, 2_000.0), (8, 250.0), (200, 10.0)])
def test_without_faults_work_is_shared_evenly(nodes: int, seconds: float) -> None:
    """200 items of ten seconds; none is done twice."""
    calm = run_phase(ITEMS, nodes, NO_FAULTS, 0, may_double=True)
    assert calm.seconds == pytest.approx(NO_FAULTS.start_s + seconds)
    assert (calm.done, calm.lost_workers, calm.wasted_s) == (200, 0, pytest.approx(0.0))


@pytest.mark.parametrize("seed", range(20))
def test_lost_and_slow_nodes_cost_time_and_no_item(seed: int) -> None:
    """A node is lost every 100 seconds: every item is answered once (`run_phase` asserts it)."""
    faults = Faults(lost_per_day=86_400 / 800, back_s=30.0, seen_s=5.0, start_s=5.0, slow_share=0.3)
    rough = run_phase(ITEMS, 8, faults, seed, may_double=True)
    assert rough.lost_workers > 0
    assert 250.0 < rough.seconds < 2_000.0
    assert rough.done >= 200


def test_the_same_seed_is_the_same_run() -> None:
    """To the last second."""
    faults = Faults(lost_per_day=50.0)
    first, again = (run_phase(ITEMS, 8, faults, 7, may_double=False) for _ in range(2))
    assert first == again != run_phase(ITEMS, 8, faults, 8, may_double=False)


def test_steps_follow_one_another_and_the_index_works_on_all_nodes() -> None:
    """Two steps of 250 s on 8 nodes, 800 s of a node by the index, 5 s of the run's process.

    Workers start once.
    """
    phase = Phase("verify", (ITEMS, ITEMS), index_s=800.0, driver_s=5.0)
    took = run(phase, 8, NO_FAULTS, [1])
    assert took.hours * 3600 == pytest.approx(NO_FAULTS.start_s + 2 * 250.0 + 100.0 + 5.0)
    assert (took.items, took.done, took.twice) == (400, 400, pytest.approx(0.0))


def test_a_limit_of_the_index_holds_whatever_the_nodes() -> None:
    """A collection takes rows by so many channels."""
    assert run(Phase("load", (ITEMS,), at_least_s=7_200.0), 200, NO_FAULTS, [1]).hours == 2.0


def test_whole_collections_are_loaded_as_many_at_a_time_as_the_index_takes() -> None:
    """Whatever the nodes: twenty collections of ten seconds, two at a time."""
    items = [Item(number, 1_000, 10.0, is_limited=True) for number in range(20)]
    calm = run_phase(items, 50, NO_FAULTS, 0, may_double=True, max_limited=2)
    assert calm.seconds == pytest.approx(NO_FAULTS.start_s + 100.0)


def test_the_items_of_the_plan_take_its_hours() -> None:
    """On one node, where none waits for another."""
    plan = planned(10**8, 12, 32, Assumed(shard_mb=16))
    every = works(plan)
    by_name = {phase.name: phase for phase in phases(plan)}
    for name, of_plan in (("reconcile", "reconcile"), ("load", LOAD), ("verify", VERIFY)):
        steps = by_name[name].steps
        seconds = sum(item.seconds for items in steps for item in items if item.seconds != END_S)
        assert seconds == pytest.approx(every[of_plan].node_s)
    [items] = by_name["reconcile"].steps
    assert len(items) == len(reconcile_sizes(plan.corpus))


def test_phases_one_after_the_other_take_their_sums() -> None:
    """The worst of each, nodes lost in each."""
    whole = Took(1.0, 1.5, 2.0, 11.0, 10) + Took(2.0, 2.5, 1.0, 30.0, 30)
    assert whole == Took(3.0, 4.0, 3.0, 41.0, 40)
    assert whole.twice == pytest.approx(2.5)
