"""Decides where shards are embedded, and by how many workers.

Pure: the machine's figures are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.workers import WorkersSpec

# Torch takes 4 s to import and runs up to 9,000 tokens a second more than numpy's 4,000 on two
# cores: 29,000 tokens are the same (docs/decisions/0110-a-few-texts-need-no-torch.md).
LIGHT_BYTES = 120_000


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """The workers a run starts."""

    count: int
    on_gpu: bool
    threads: int  # each, on a CPU
    gpus: float  # each


def plan_workers(
    spec: WorkersSpec, cpus: float, gpus: float, memory_bytes: float, worker_bytes: float
) -> WorkerPlan:
    """One worker per GPU; without one, as many single-threaded ones as cores and memory allow.

    Args:
        cpus, gpus: what the machine or cluster has.
        memory_bytes: what is free, infinity if unknown; worker_bytes: what one worker takes
            at its peak.
    Returns: at least one worker, whatever the memory.
    """
    on_gpu = spec.device == "cuda" or (spec.device == "auto" and gpus > 0)
    if on_gpu:
        count = spec.count or max(1, int(gpus / spec.gpus_per_worker))
        return WorkerPlan(count, True, spec.threads, spec.gpus_per_worker)
    by_cores = max(1, int(cpus) // max(1, spec.threads))
    # A float: the memory of a cluster is unknown, that is infinity.
    by_memory = memory_bytes / worker_bytes if worker_bytes > 0 else by_cores
    return WorkerPlan(spec.count or max(1, int(min(by_cores, by_memory))), False, spec.threads, 0.0)


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
