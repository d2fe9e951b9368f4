"""Embeds shards on long-lived Ray actors, a bounded number in flight.

An actor loads the model once. It gets shards only once it is up, so actors that the cluster has
no room for cost nothing. When an actor dies, the shard it was embedding is tried again on a new
one; the shards of an actor that is far behind are also given to an idle actor. Embedding a shard
twice is harmless: a finished one is found by its receipt, and the first receipt counts.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from mrag_pipeline.config import Config
from mrag_pipeline.domain.dispatch import Pace, ShardQueue
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.domain.worker_plan import WorkerPlan
from mrag_pipeline.errors import MragError, TransientError, WorkerLost
from mrag_pipeline.runtime.cluster import answering, check_alive, connect_ray, disconnect_ray
from mrag_pipeline.runtime.embedder import OpenEmbedder
from mrag_pipeline.runtime.ray_workers import Worker, WorkerGroup
from mrag_pipeline.settings.workers import WorkersSpec
from mrag_pipeline.wiring.embedders import shard_embedder

log = logging.getLogger(__name__)

WAIT_S = 1.0
START_TIMEOUT_S = 300.0  # an autoscaler may need minutes for a first node


class RayPool:
    """The worker pool on a local Ray or a cluster."""

    def __init__(
        self,
        config: Config,
        manifest: Manifest,
        open_embedder: OpenEmbedder = shard_embedder,
    ) -> None:
        """Connects to the cluster, or starts a local Ray.

        Raises: WorkerLost (no cluster), ConfigError (a GPU is asked for and there is none).
        """
        self._spec = config.workers
        self._started_ray = connect_ray(config.workers.address)
        try:
            self._group = WorkerGroup(config, manifest, open_embedder)
        except BaseException:
            self._leave()
            raise

    def describe(self) -> str:
        """One line for people."""
        return self._group.describe()

    def run(self, shards: Iterable[Shard]) -> Iterator[Receipt]:
        """A receipt for each shard, as they finish.

        A shard is tried again, up to `workers.attempts` times in all, when its worker dies or
        its error is transient.
        Raises: WorkerLost, the shard's own last error, or at once its permanent error.
        """
        with answering():
            yield from _Run(self._group, shards, self._spec).receipts()

    def close(self) -> None:
        """Ends the actors, and the Ray that was started for them."""
        self._group.end()
        self._leave()

    def _leave(self) -> None:
        if self._started_ray:
            self._started_ray = False
            disconnect_ray()


class _Run:
    """The state of one run: shards to do, shards in flight, and failures."""

    def __init__(self, group: WorkerGroup, shards: Iterable[Shard], spec: WorkersSpec) -> None:
        todo = list(shards)
        self._group = group
        self._spec = spec
        self._queue = ShardQueue(todo)
        self._missing = {shard.index for shard in todo}  # without a receipt
        self._failed: Counter[int] = Counter()
        self._suspects: set[int] = set()  # were assigned to a worker when it died
        self._pace = Pace(spec.late_factor)
        self._unborn = 0  # workers that died while starting, since the last one came up

    def receipts(self) -> Iterator[Receipt]:
        """See RayPool.run."""
        group = self._group
        group.hire(len(self._missing))
        idle_since = time.monotonic()
        while self._missing:
            self._give()
            self._give_again()
            awaited = {ref: worker for worker in group.workers for ref in worker.references()}
            check_alive()
            ready, _ = ray.wait(list(awaited), num_returns=1, timeout=WAIT_S)
            if ready or any(worker.flight for worker in group.workers):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > START_TIMEOUT_S:
                raise _no_place(group.plan)
            for ref in ready:
                receipt = self._answer(ref, awaited[ref])
                if receipt is not None:
                    yield receipt
        # Some may still be embedding a shard that another has finished.
        group.end()

    def _answer(self, ref: Any, worker: Worker) -> Receipt | None:
        """The receipt behind the reference, if it was still missing; otherwise None."""
        try:
            answer = ray.get(ref)
        except RayTaskError as error:
            cause = _own(error)
            if not isinstance(cause, TransientError):
                raise cause from None
            shard, _ = worker.taken(ref)
            self._again(shard, cause)
            return None
        except RayError as error:
            self._lost_worker(ref, worker, error)
            return None
        if ref == worker.starting:
            worker.starting = None
            self._unborn = 0
            log.info("worker_up node=%s", answer)
            return None
        shard, seconds = worker.taken(ref)
        self._suspects.discard(shard.index)
        self._pace.add(shard, seconds)
        if shard.index not in self._missing:  # another worker had it too, and was faster
            return None
        self._missing.remove(shard.index)
        receipt: Receipt = answer
        return receipt

    def _lost_worker(self, ref: Any, worker: Worker, error: RayError) -> None:
        if ref == worker.starting:
            self._unborn += 1
            # A lost node takes all workers that were starting on it along.
            if self._unborn >= self._spec.attempts * len(self._group.workers):
                raise _lost(f"{self._unborn} workers died while starting", error) from None
            self._group.replace(worker)
            return
        shards = worker.shards()
        self._group.replace(worker)
        self._suspects.update(shard.index for shard in shards)
        log.warning("worker_lost shards=%s", [shard.index for shard in shards])
        for shard in reversed(shards[1:]):
            self._put_back(shard)
        self._again(shards[0], _lost(f"shard {shards[0].index} lost its worker", error))

    def _give(self) -> None:
        """Assigns shards to the workers that are up: one each, then more if enough are left."""
        workers = self._group.workers
        for held in range(max(1, self._spec.in_flight)):
            without = sum(not worker.flight for worker in workers)
            for worker in workers:
                # The last shards do not queue behind another while some worker has none.
                spare = len(self._queue) - (without if held else 0)
                if spare <= 0:
                    break
                if worker.starting is not None or len(worker.flight) != held:
                    continue
                # A shard that was assigned to a worker when it died is assigned alone: if the
                # worker dies again, that shard is to blame.
                if held and worker.shards()[0].index in self._suspects:
                    continue
                shard = self._queue.take(worker.last)
                if held and shard.index in self._suspects:
                    self._queue.put_back(shard)
                    continue
                worker.give(shard)

    def _give_again(self) -> None:
        """When no shard waits: also assigns the shards of late workers to idle ones."""
        idle = [worker for worker in self._group.workers if worker.is_idle]
        if not idle or len(self._queue):
            return
        for shard in self._late()[: len(idle)]:
            log.warning("shard_late shard=%d given to a second worker", shard.index)
            idle.pop().give(shard)

    def _late(self) -> list[Shard]:
        """Shards of one worker alone that is far behind; those it has not started come first."""
        now = time.monotonic()
        holders = Counter(s.index for worker in self._group.workers for s in worker.shards())
        late_shards = [
            shard
            for worker in self._group.workers
            if worker.flight and self._pace.is_late(worker.shards()[0], now - worker.since)
            for shard in reversed(worker.shards())
        ]
        return [
            shard
            for shard in late_shards
            if shard.index in self._missing
            and holders[shard.index] == 1
            and self._failed[shard.index] < self._spec.attempts
        ]

    def _again(self, shard: Shard, error: MragError) -> None:
        self._failed[shard.index] += 1
        times = self._failed[shard.index]
        log.warning("shard_failed shard=%d times=%d error=%s", shard.index, times, error.found)
        if times >= self._spec.attempts and self._is_nobodys(shard):
            raise error from None
        self._put_back(shard)

    def _put_back(self, shard: Shard) -> None:
        if self._is_nobodys(shard):
            self._queue.put_back(shard)

    def _is_nobodys(self, shard: Shard) -> bool:
        """Whether the shard has no receipt and no worker is embedding it."""
        return shard.index in self._missing and not any(
            shard.index == other.index
            for worker in self._group.workers
            for other in worker.shards()
        )


def _own(error: RayTaskError) -> BaseException:
    cause = error.cause
    return cause if isinstance(cause, MragError) else error


def _lost(what: str, error: RayError) -> WorkerLost:
    return WorkerLost(
        f"{what}: {' '.join(str(error).split())[:500]}",
        "a worker that survives its shard",
        "memory is the usual cause: lower workers.count, workers.batch_tokens or "
        "sharding.shard_mb, then run the same command again to resume",
    )


def _no_place(plan: WorkerPlan) -> WorkerLost:
    each = f"{plan.gpus:g} GPU" if plan.on_gpu else f"{plan.threads} CPU"
    return WorkerLost(
        f"no worker started within {START_TIMEOUT_S:.0f} s",
        f"a cluster with {each} free for at least one of {plan.count} workers",
        "see `ray status`; lower workers.threads or workers.gpus_per_worker, or add nodes",
    )
