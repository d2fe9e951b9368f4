"""The simulation of a large load runs the product's own scheduler."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

with pytest.MonkeyPatch.context() as patch:  # its scripts are run, so it is no package of ours
    patch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    from simulate import NO_FAULTS, Faults, Item, run_phase

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
