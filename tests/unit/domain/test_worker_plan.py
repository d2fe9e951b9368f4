"""How many workers a machine gets, and how many dead letters a run allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.run_limits import too_many_dead
from mrag_pipeline.domain.worker_plan import (
    NodeRoom,
    WorkerPlan,
    is_phase_worth_a_cluster,
    is_worth_a_cluster,
    plan_workers,
)
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.workers import WorkersSpec

GB = 1e9


def count(spec: WorkersSpec, cpus: float, gpus: float = 0, memory: float = 100 * GB) -> int:
    return plan_workers(spec, [NodeRoom("n", cpus, gpus)], memory, 2 * GB).count


def of_cluster(spec: WorkersSpec, *nodes: tuple[float, float]) -> WorkerPlan:
    """The plan for nodes of so many CPUs and GPUs, named n0, n1 and so on."""
    rooms = [NodeRoom(f"n{i}", cpus, gpus) for i, (cpus, gpus) in enumerate(nodes)]
    return plan_workers(spec, rooms, float("inf"), 2 * GB)


def test_a_cpu_machine_gets_a_worker_per_core() -> None:
    """Fewer where the memory or the threads of each ask for it; at least one."""
    assert count(WorkersSpec(), 8) == 8
    assert count(WorkersSpec(), 8, memory=7 * GB) == 3
    assert count(WorkersSpec(threads=4), 8) == 2
    assert count(WorkersSpec(threads=16), 8) == 1
    assert count(WorkersSpec(), 8, memory=0) == 1
    assert count(WorkersSpec(), 0.5) == 1
    assert count(WorkersSpec(), 8, memory=float("inf")) == 8


@pytest.mark.parametrize("address", ["auto", "ray://head:10001"])
def test_a_driver_of_a_cluster_needs_no_gpu(address: str) -> None:
    """The GPUs are its workers'; on one machine, or without workers, both are the same."""
    assert WorkersSpec(device="cuda", address=address).driver_device == "auto"
    assert WorkersSpec(device="cpu", address=address).driver_device == "cpu"
    assert WorkersSpec(pool="serial", device="cuda", address=address).driver_device == "cuda"
    assert WorkersSpec(device="cuda").driver_device == "cuda"
    assert WorkersSpec().driver_device == "auto"


def test_a_gpu_machine_gets_a_worker_per_gpu() -> None:
    """Cores and memory do not matter; shares of a GPU do; `device = cpu` uses no GPU."""
    machine = [NodeRoom("n", 2, 4)]
    plan = plan_workers(WorkersSpec(), machine, 1 * GB, 2 * GB)
    assert (plan.count, plan.on_gpu, plan.gpus) == (4, True, 1.0)
    assert count(WorkersSpec(gpus_per_worker=0.5), 2, gpus=2) == 4
    assert not plan_workers(WorkersSpec(device="cpu"), machine, 8 * GB, 2 * GB).on_gpu


def test_a_workers_cores_and_gpus_are_on_one_node() -> None:
    """What is left over on two nodes makes no worker, which would wait for ever."""
    assert of_cluster(WorkersSpec(threads=2), (3, 0), (3, 0), (0, 0)).count == 2
    assert of_cluster(WorkersSpec(gpus_per_worker=2), (8, 3), (8, 3)).count == 2


def test_workers_without_a_gpu_spare_nodes_with_gpus() -> None:
    """They get no worker, and their cores do not count."""
    plan = of_cluster(WorkersSpec(device="cpu"), (0, 0), (32, 8), (4, 0), (32, 8), (2, 0))
    assert (plan.count, plan.spared) == (6, {"n1", "n3"})
    fixed = of_cluster(WorkersSpec(device="cpu", count=32), (32, 8), (4, 0))
    assert (fixed.count, fixed.spared) == (32, {"n0"})


@pytest.mark.parametrize(
    ("spec", "count", "of_other_phases"),
    [
        (WorkersSpec(), 2, 68),  # one for each GPU; one for each core of nodes without
        (WorkersSpec(count=4), 4, 4),
        (WorkersSpec(count=4, phase_workers=64), 4, 64),
        (WorkersSpec(count=4, phase_workers=0), 4, 68),
        (WorkersSpec(phase_workers=9), 2, 9),
    ],
)
def test_phases_without_a_gpu_may_have_their_own_number(
    spec: WorkersSpec, count: int, of_other_phases: int
) -> None:
    """By the rule of `count`; without a number of their own they have `count`."""
    nodes = [(32, 2), (64, 0), (4, 0)]
    assert of_cluster(spec, *nodes).count == count
    plan = of_cluster(spec.of_other_phases, *nodes)
    assert (plan.count, plan.on_gpu) == (of_other_phases, False)


@pytest.mark.parametrize(
    ("spec", "nodes"),
    [
        (WorkersSpec(device="cpu"), [(0, 0), (32, 8)]),  # a head without cores is no place
        (WorkersSpec(device="cpu", threads=4), [(2, 0), (32, 8)]),  # nor is one with too few
        (WorkersSpec(device="cpu", spare_gpu_nodes=False), [(8, 0), (32, 8)]),
        (WorkersSpec(), [(8, 0), (32, 8)]),  # with GPUs
    ],
)
def test_no_node_is_spared_where_work_needs_it(
    spec: WorkersSpec, nodes: list[tuple[float, float]]
) -> None:
    """Where only nodes with GPUs have room, where the config says so, and for workers on GPUs."""
    plan = of_cluster(spec, *nodes)
    assert plan.spared == frozenset()
    assert plan.count >= 8


def test_a_configured_count_is_used_as_it_is() -> None:
    """It overrides cores, GPUs and memory."""
    assert count(WorkersSpec(count=5), 2, memory=1) == 5
    assert count(WorkersSpec(count=5), 2, gpus=1) == 5


@given(
    st.floats(0, 512), st.integers(0, 16), st.floats(0, 1e13), st.integers(0, 64), st.integers(1, 9)
)
def test_there_is_always_a_worker(
    cpus: float, gpus: int, memory: float, configured: int, threads: int
) -> None:
    """Whatever figures the machine reports."""
    spec = WorkersSpec(count=configured, threads=threads)
    assert plan_workers(spec, [NodeRoom("n", cpus, gpus)], memory, 2 * GB).count >= 1
    assert plan_workers(spec, [], memory, 2 * GB).count >= 1


@pytest.mark.parametrize(
    ("dead", "documents", "stops"),
    [
        (0, 0, False),
        (9, 0, False),  # below min_dead_letters, whatever the share
        (10, 0, True),
        (10, 190, False),  # 5% exactly is allowed
        (10, 189, True),
        (1_000, 10**6, False),
    ],
)
def test_a_share_of_dead_letters_stops_the_run(dead: int, documents: int, stops: bool) -> None:
    """More than 5%, and at least ten of them."""
    assert too_many_dead(IngestSpec(), dead, documents) is stops


def test_the_config_can_allow_no_dead_letter() -> None:
    """Share 0 and minimum 0: the first dead letter stops the run, none does not."""
    strict = IngestSpec(max_dead_letter_share=0.0, min_dead_letters=0)
    assert too_many_dead(strict, 1, 10**6)
    assert not too_many_dead(strict, 0, 0)


@pytest.mark.parametrize(
    ("spec", "num_bytes", "is_worth_it"),
    [
        (WorkersSpec(serial_mb=2.0), 2_000_000, False),
        (WorkersSpec(serial_mb=2.0), 2_000_001, True),
        (WorkersSpec(serial_mb=0.0), 1, True),
        (WorkersSpec(address="auto"), 1, True),  # somebody has started a cluster for it
        (WorkersSpec(pool="ray"), 1, True),
        (WorkersSpec(pool="serial", address="auto"), 10**12, False),
    ],
)
def test_a_small_corpus_needs_no_cluster(
    spec: WorkersSpec, num_bytes: int, is_worth_it: bool
) -> None:
    """Only `auto` looks at the size; an address is a wish for the cluster there."""
    assert is_worth_a_cluster(spec, num_bytes) is is_worth_it


@pytest.mark.parametrize(
    ("spec", "num_bytes", "is_worth_it"),
    [
        (WorkersSpec(phase_mb=2.0), 2_000_000, False),
        (WorkersSpec(phase_mb=2.0), 2_000_001, True),
        (WorkersSpec(phase_mb=2.0, pool="ray", address="auto"), 2_000_000, False),
        (WorkersSpec(phase_mb=2.0, pool="serial"), 10**12, False),
    ],
)
def test_a_small_phase_needs_no_workers(
    spec: WorkersSpec, num_bytes: int, is_worth_it: bool
) -> None:
    """Whatever the pool, only the size decides; `serial` means this process."""
    assert is_phase_worth_a_cluster(spec, num_bytes) is is_worth_it
