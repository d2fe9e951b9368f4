"""Decides where shards are embedded, and by how many workers.

Pure: the figures of the machine, or of the nodes, are arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrag_pipeline.settings.workers import WorkersSpec

# Torch takes 4 s to import and runs up to 9,000 tokens a second more than numpy's 4,000 on two
# cores: 29,000 tokens are the same (docs/decisions/0110-a-few-texts-need-no-torch.md).
LIGHT_BYTES = 120_000


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """What a node has in all, whoever uses it now."""

    node_id: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """The workers a run starts."""

    count: int
    on_gpu: bool
    threads: int  # each, on a CPU
    gpus: float  # each
    spared: frozenset[str] = frozenset()  # ids of the nodes on which none of them is started


def plan_workers(
    spec: WorkersSpec, nodes: Sequence[NodeRoom], memory_bytes: float, worker_bytes: float
) -> WorkerPlan:
    """One worker per GPU; without one, as many as the nodes' cores and the memory allow.

    Workers without a GPU spare the nodes with GPUs, if another node has the cores for one.

    Args:
        nodes: of the cluster, or the machine as the only one.
        memory_bytes: what is free, infinity if unknown; worker_bytes: what one worker takes
            at its peak.
    Returns: at least one worker, whatever there is.
    """
    has_gpus = any(node.gpus > 0 for node in nodes)
    if spec.device == "cuda" or (spec.device == "auto" and has_gpus):
        by_gpus = sum(int(node.gpus / spec.gpus_per_worker) for node in nodes)
        return WorkerPlan(spec.count or max(1, by_gpus), True, spec.threads, spec.gpus_per_worker)
    spared = _spared(spec, nodes)
    # Node by node: a worker's threads are all on one.
    by_cores = sum(int(node.cpus) // spec.threads for node in nodes if node.node_id not in spared)
    # A float: the memory of a cluster is unknown, that is infinity.
    by_memory = memory_bytes / worker_bytes if worker_bytes > 0 else by_cores
    count = spec.count or max(1, int(min(by_cores, by_memory)))
    return WorkerPlan(count, False, spec.threads, 0.0, spared)


def _spared(spec: WorkersSpec, nodes: Sequence[NodeRoom]) -> frozenset[str]:
    """The nodes with GPUs, unless there is no other with the cores of a worker."""
    has_others = any(node.gpus == 0 and node.cpus >= spec.threads for node in nodes)
    if not spec.spare_gpu_nodes or not has_others:
        return frozenset()
    return frozenset(node.node_id for node in nodes if node.gpus > 0)


def is_light_work(num_bytes: int) -> bool:
    """Whether so many bytes of text are embedded on numpy before torch would be imported."""
    return num_bytes <= LIGHT_BYTES


def is_worth_a_cluster(spec: WorkersSpec, num_bytes: int) -> bool:
    """Whether Ray embeds the shards: False if this process is done before Ray has started.

    Args:
        num_bytes: of source, in all shards of the plan.
    """
    if spec.pool == "auto":
        return bool(spec.address) or num_bytes > spec.serial_mb * 1_000_000
    return spec.pool == "ray"


def is_phase_worth_a_cluster(spec: WorkersSpec, num_bytes: int) -> bool:
    """Whether workers do a phase that embeds nothing: False if this process is done as soon.

    Args:
        num_bytes: that the phase reads, of staged files and of the index.
    """
    return spec.pool != "serial" and num_bytes > spec.phase_mb * 1_000_000
