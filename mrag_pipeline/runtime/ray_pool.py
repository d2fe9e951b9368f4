"""Shards embedded by long-lived Ray actors, a bounded number in flight.

An actor loads the model once. It is given shards only when it is up, so actors that the
cluster has no room for cost nothing. When one dies, the shard it was at gets another try on a
new actor; embedding a shard twice is harmless, since a finished one is found by its receipt.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import ray
from ray.exceptions import RayError, RayTaskError

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.domain.workers import WorkerPlan, plan_workers
from mrag_pipeline.errors import ConfigError, MragError, TransientError, WorkerLost
from mrag_pipeline.runtime.cluster import connect
from mrag_pipeline.runtime.pools import OpenEmbedder

log = logging.getLogger(__name__)

WORKER_BYTES = 1_500_000_000  # a MiniLM worker at its peak; workers.count overrides
WAIT_S = 1.0
START_TIMEOUT_S = 300.0  # an autoscaler may need minutes for a first node


class EmbedActor:
    """Holds a model and embeds the shards it is given. Decides nothing."""

    def __init__(
        self, config: dict[str, Any], version: str, fingerprint: str, open_embedder: OpenEmbedder
    ) -> None:
        self._config = Config.parse(config)
        self._version = version
        self._fingerprint = fingerprint
        self._open = open_embedder
        self._embedder: Any = None

    def up(self) -> None:
        """Answers once the actor has its place."""

    def embed(self, shard: Shard) -> Receipt:
        """The shard's receipt, with the model loaded at the first call."""
        # Not in __init__: a failure to load would come back as a dead actor, not as its error.
        if self._embedder is None:
            self._embedder = self._open(self._config, self._version, self._fingerprint)
        return self._embedder.embed(shard)  # type: ignore[no-any-return]


@dataclass(slots=True)
class _Worker:
    """An actor and what it was given, in that order: the first is what it is at."""

    actor: Any
    starting: Any  # the reference that is ready when the actor is up; then None
    flight: deque[tuple[Any, Shard]] = field(default_factory=deque)


class RayPool:
    """The worker pool on a local Ray or a cluster."""

    def __init__(
        self,
        config: Config,
        manifest: Manifest,
        open_embedder: OpenEmbedder = wiring.shard_embedder,
    ) -> None:
        """Connects to the cluster, or starts a local Ray.

        Raises: WorkerLost (no cluster), ConfigError (a GPU is asked for and there is none).
        """
        self._config = config
        self._manifest = manifest
        self._open_embedder = open_embedder
        self._workers: list[_Worker] = []
        self._suspects: set[int] = set()
        self._started_ray = connect(config.workers.address)
        try:
            self._plan, self._num_cpus = self._planned()
        except BaseException:
            self.close()
            raise

    def describe(self) -> str:
        """One line for people."""
        each = f"{self._plan.gpus:g} GPU" if self._plan.on_gpu else f"{self._plan.threads} thread"
        return f"{self._plan.count} Ray actors, {each} each"

    def run(self, shards: Iterable[Shard]) -> Iterator[Receipt]:
        """A receipt for each shard, as they finish.

        A shard is tried again, up to `workers.attempts` times in all, when its worker dies or
        its error is transient.
        Raises: WorkerLost, the shard's own last error, or at once its permanent error.
        """
        waiting = deque(shards)
        failed: Counter[int] = Counter()
        unborn = 0
        self._workers = [self._hired() for _ in range(min(self._plan.count, len(waiting)))]
        idle_since = time.monotonic()
        while waiting or any(worker.flight for worker in self._workers):
            self._give(waiting)
            awaited = {
                ref: worker
                for worker in self._workers
                for ref in (worker.starting, *(ref for ref, _ in worker.flight))
                if ref is not None
            }
            ready, _ = ray.wait(list(awaited), num_returns=1, timeout=WAIT_S)
            if ready or any(worker.flight for worker in self._workers):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > START_TIMEOUT_S:
                raise _no_place(self._plan)
            for ref in ready:
                worker = awaited[ref]
                try:
                    receipt = ray.get(ref)
                except RayTaskError as error:
                    cause = _own(error)
                    if not isinstance(cause, TransientError):
                        raise cause from None
                    shard = _taken(worker, ref)
                    self._again(shard, failed, cause, waiting)
                except RayError as error:
                    if ref == worker.starting:
                        unborn += 1
                        if unborn >= self._config.workers.attempts:
                            raise _lost(f"{unborn} workers died at their start", error) from None
                    else:
                        shard = worker.flight[0][1]
                        self._suspects.update(own.index for _, own in worker.flight)
                        lost = _lost(f"shard {shard.index} has lost its worker", error)
                        waiting.extendleft(other for _, other in list(worker.flight)[:0:-1])
                        self._again(shard, failed, lost, waiting)
                    self._replace(worker)
                else:
                    if ref == worker.starting:
                        worker.starting = None
                        continue
                    self._suspects.discard(_taken(worker, ref).index)
                    yield receipt

    def close(self) -> None:
        """Ends the actors, and the Ray that was started for them."""
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers.clear()
        if self._started_ray:
            self._started_ray = False
            ray.shutdown()

    def _give(self, waiting: deque[Shard]) -> None:
        """Shards to the workers that are up: one each, then ahead of time if enough are left."""
        for held in range(max(1, self._config.workers.in_flight)):
            for worker in self._workers:
                without = sum(not other.flight for other in self._workers)
                # The last shards are not queued behind another where a worker has none.
                spare = len(waiting) if held == 0 else len(waiting) - without
                if worker.starting is not None or len(worker.flight) != held or spare <= 0:
                    continue
                # What was with a worker when it died goes alone: a worker may die before its
                # last receipt is out, and then only being alone tells who is to blame.
                if held and {waiting[0].index, worker.flight[0][1].index} & self._suspects:
                    continue
                shard = waiting.popleft()
                worker.flight.append((worker.actor.embed.remote(shard), shard))

    def _again(
        self, shard: Shard, failed: Counter[int], error: MragError, waiting: deque[Shard]
    ) -> None:
        failed[shard.index] += 1
        times = failed[shard.index]
        log.warning("shard_failed shard=%d times=%d error=%s", shard.index, times, error.found)
        if times >= self._config.workers.attempts:
            raise error from None
        waiting.appendleft(shard)

    def _replace(self, worker: _Worker) -> None:
        # It may only be out of reach: then its place is needed for the next.
        ray.kill(worker.actor)
        fresh = self._hired()
        worker.actor, worker.starting = fresh.actor, fresh.starting
        worker.flight.clear()

    def _hired(self) -> _Worker:
        options: dict[str, Any] = {
            "max_restarts": 0,
            "max_task_retries": 0,
            "num_cpus": self._num_cpus,
        }
        if self._plan.on_gpu:
            options["num_gpus"] = self._plan.gpus
        else:
            variables = {"OMP_NUM_THREADS": str(self._plan.threads)}
            options["runtime_env"] = {"env_vars": variables}
        actor = (
            ray.remote(EmbedActor)
            .options(**options)
            .remote(
                self._config.to_dict(),
                self._manifest.version,
                self._manifest.fingerprint,
                self._open_embedder,
            )
        )
        return _Worker(actor, actor.up.remote())

    def _planned(self) -> tuple[WorkerPlan, float]:
        """The workers, and how many CPUs Ray is asked for each."""
        spec = self._config.workers
        resources = ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
        # A cluster's memory is not this machine's; there, the cores decide.
        memory = math.inf if spec.address else float(psutil.virtual_memory().available)
        plan = plan_workers(spec, cpus, gpus, memory, WORKER_BYTES)
        if plan.on_gpu:
            if not spec.address and plan.gpus > gpus:
                raise ConfigError(
                    f"workers.device = {spec.device!r} with {plan.gpus:g} GPU for each worker, "
                    f"and this machine shows Ray {gpus:g}",
                    "a GPU that Ray can see",
                    "set workers.device = 'cpu', or check nvidia-smi and CUDA_VISIBLE_DEVICES",
                )
            # 0: on a machine with few cores a GPU actor would wait for one for ever.
            return plan, 0.0
        if spec.address or plan.count * plan.threads <= cpus:
            return plan, float(plan.threads)
        # More than the machine has, because the config says so: Ray is told a smaller share,
        # or some of them would never start. Above 1, it wants whole numbers.
        share = cpus / plan.count
        return plan, math.floor(share) if share >= 1 else share


def _taken(worker: _Worker, ref: Any) -> Shard:
    """The shard that the reference was for, taken out of the worker's flight."""
    [shard] = [shard for own, shard in worker.flight if own == ref]
    worker.flight = deque(item for item in worker.flight if item[0] != ref)
    return shard


def _own(error: RayTaskError) -> BaseException:
    cause = error.cause
    return cause if isinstance(cause, MragError) else error


def _lost(what: str, error: RayError) -> WorkerLost:
    return WorkerLost(
        f"{what}: {' '.join(str(error).split())[:500]}",
        "a worker that lives through its shard",
        "often it is memory: lower workers.count, workers.batch_tokens or sharding.shard_mb; "
        "run again to go on from here",
    )


def _no_place(plan: WorkerPlan) -> WorkerLost:
    each = f"{plan.gpus:g} GPU" if plan.on_gpu else f"{plan.threads} CPU"
    return WorkerLost(
        f"no worker has started in {START_TIMEOUT_S:.0f} s",
        f"a cluster with {each} free for at least one of {plan.count} workers",
        "see `ray status`; lower workers.threads or workers.gpus_per_worker, or add nodes",
    )
