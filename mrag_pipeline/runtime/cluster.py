"""A Ray to work on: one that runs already, or a local one for this process."""

from __future__ import annotations

import os

import ray

from mrag_pipeline.errors import WorkerLost


def connect(address: str) -> bool:
    """Whether a Ray was started here (and is to be stopped by us).

    Raises: WorkerLost if no cluster answers.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            logging_level="ERROR",
            log_to_driver=False,
        )
    except ConnectionError as error:
        raise WorkerLost(
            f"no Ray cluster at {address!r}: {error}",
            "a running head node",
            "start one with `ray start --head`, or leave workers.address empty for a local one",
        ) from None
    return True


def describe(address: str) -> str:
    """One line for people: Ray's version and what it has.

    Raises: WorkerLost if no cluster answers, or one without a CPU.
    """
    started = connect(address)
    try:
        resources = ray.cluster_resources()
    finally:
        if started:
            ray.shutdown()
    if not resources.get("CPU"):
        raise WorkerLost("a Ray without CPUs", "at least one", "check the head node")
    return f"{ray.__version__}: {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
