"""What Ray's errors are for whoever waits for items."""

from __future__ import annotations

from ray.exceptions import RayError, RayTaskError

from mrag_pipeline.domain.worker_plan import WorkerPlan
from mrag_pipeline.errors import MragError, WorkerLost


def own(error: RayTaskError) -> BaseException:
    """The item's own error where it is one of ours; else Ray's, which has the worker's stack."""
    cause = error.cause
    return cause if isinstance(cause, MragError) else error


def lost(what: str, error: RayError) -> WorkerLost:
    """A worker has died."""
    return WorkerLost(
        f"{what}: {' '.join(str(error).split())[:500]}",
        "a worker that survives its work",
        "memory is the usual cause: lower workers.count (in other phases than embed "
        "workers.phase_workers), workers.batch_tokens or sharding.shard_mb, then run the same "
        "command again to resume",
    )


def no_place(plan: WorkerPlan, seconds: float) -> WorkerLost:
    """No worker came up in that time."""
    elsewhere = " on a node without a GPU" if plan.spared else ""
    return WorkerLost(
        f"no worker started within {seconds:.0f} s",
        f"a cluster with {needs(plan)} free{elsewhere} for at least one of {plan.count} workers",
        "see `ray status`; lower workers.threads or workers.gpus_per_worker, add nodes, or, if an "
        "autoscaler is adding them, raise workers.start_timeout_s",
    )


def needs(plan: WorkerPlan) -> str:
    """What a worker asks of a node."""
    return f"{plan.gpus:g} GPU" if plan.on_gpu else f"{plan.threads} CPU"
