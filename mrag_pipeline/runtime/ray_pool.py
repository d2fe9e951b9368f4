"""Shards embedded by long-lived Ray actors, a bounded number in flight.

An actor loads the model once. When it dies, the shard it was at gets another try on a new
actor; embedding a shard twice is harmless, since a finished one is found by its receipt.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any

import psutil
import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.domain.workers import WorkerPlan, plan_workers
from mrag_pipeline.errors import MragError, WorkerLost

log = logging.getLogger(__name__)

WORKER_BYTES = 1_500_000_000  # a MiniLM worker at its peak; workers.count overrides
WAIT_S = 1.0


class EmbedActor:
    """Holds a model and embeds the shards it is given. Decides nothing."""

    def __init__(self, config: dict[str, Any], version: str, fingerprint: str) -> None:
        self._config = Config.parse(config)
        self._version = version
        self._fingerprint = fingerprint
        self._embedder: Any = None

    def embed(self, shard: Shard) -> Receipt:
        """The shard's receipt, with the model loaded at the first call."""
        # Not in __init__: a failure to load would come back as a dead actor, not as its error.
        if self._embedder is None:
            self._embedder = wiring.shard_embedder(self._config, self._version, self._fingerprint)
        return self._embedder.embed(shard)  # type: ignore[no-any-return]


class RayPool:
    """The worker pool on a local Ray or a cluster."""

    def __init__(self, config: Config, manifest: Manifest) -> None:
        self._config = config
        self._manifest = manifest
        self._started_ray = connect(config.workers.address)
        resources = ray.cluster_resources()
        self._plan: WorkerPlan = plan_workers(
            config.workers,
            resources.get("CPU", 1.0),
            resources.get("GPU", 0.0),
            _free_memory(config.workers.address),
            WORKER_BYTES,
        )
        self._actors: dict[int, Any] = {}

    def describe(self) -> str:
        """One line for people."""
        each = f"{self._plan.gpus:g} GPU" if self._plan.on_gpu else f"{self._plan.threads} thread"
        return f"{self._plan.count} Ray actors, {each} each"

    def run(self, shards: Iterable[Shard]) -> Iterator[Receipt]:
        """A receipt for each shard, as they finish.

        Raises: WorkerLost when a shard has lost `workers.attempts` workers; a shard's own error.
        """
        spec = self._config.workers
        waiting = deque(shards)
        lost: Counter[int] = Counter()
        # In the order given: an actor runs its calls in that order, so the first is running.
        flights: dict[int, deque[tuple[Any, Shard]]] = {}
        for worker in range(min(self._plan.count, len(waiting))):
            self._actors[worker] = self._actor()
            flights[worker] = deque()
        while waiting or any(flights.values()):
            for worker, flight in flights.items():
                while waiting and len(flight) < max(1, spec.in_flight):
                    shard = waiting.popleft()
                    flight.append((self._actors[worker].embed.remote(shard), shard))
            running = {ref: worker for worker, flight in flights.items() for ref, _ in flight}
            ready, _ = ray.wait(list(running), num_returns=1, timeout=WAIT_S)
            for ref in ready:
                worker = running[ref]
                try:
                    receipt = ray.get(ref)
                except (RayActorError, ActorUnavailableError) as error:
                    self._replace(worker, flights[worker], waiting, lost, error)
                    continue
                except RayTaskError as error:
                    raise _own(error) from None
                flights[worker] = deque(item for item in flights[worker] if item[0] != ref)
                yield receipt

    def close(self) -> None:
        """Ends the actors, and the Ray that was started for them."""
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()
        if self._started_ray:
            self._started_ray = False
            ray.shutdown()

    def _replace(
        self,
        worker: int,
        flight: deque[tuple[Any, Shard]],
        waiting: deque[Shard],
        lost: Counter[int],
        error: Exception,
    ) -> None:
        running = flight[0][1]
        lost[running.index] += 1
        log.warning(
            "worker_lost worker=%d shard=%d times=%d", worker, running.index, lost[running.index]
        )
        if lost[running.index] >= self._config.workers.attempts:
            raise WorkerLost(
                f"shard {running.index} has lost {lost[running.index]} workers: {error}",
                "a worker that lives through its shard",
                "often it is memory: lower workers.count, workers.batch_tokens or "
                "sharding.shard_mb; run again to go on from here",
            ) from None
        waiting.extendleft(shard for _, shard in reversed(flight))
        flight.clear()
        self._actors[worker] = self._actor()

    def _actor(self) -> Any:
        options: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0}
        if self._plan.on_gpu:
            # num_cpus=0: on a machine with few cores a GPU actor would wait for one for ever.
            options |= {"num_gpus": self._plan.gpus, "num_cpus": 0}
        else:
            threads = self._plan.threads
            options |= {
                "num_cpus": threads,
                "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(threads)}},
            }
        return (
            ray.remote(EmbedActor)
            .options(**options)
            .remote(self._config.to_dict(), self._manifest.version, self._manifest.fingerprint)
        )


def connect(address: str) -> bool:
    """Whether a Ray was started here (and is to be stopped by us)."""
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


def _free_memory(address: str) -> float:
    # A cluster's memory is not this machine's; there, the cores decide.
    return float("inf") if address else float(psutil.virtual_memory().available)


def _own(error: RayTaskError) -> BaseException:
    cause = error.cause
    return cause if isinstance(cause, MragError) else error
