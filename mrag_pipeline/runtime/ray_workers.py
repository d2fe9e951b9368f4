"""The actors of a pool: planned for the cluster's resources, started, replaced and ended."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import psutil
import ray

from mrag_pipeline.config import Config
from mrag_pipeline.domain.work_item import WorkItem
from mrag_pipeline.domain.worker_plan import WorkerPlan, plan_workers
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import Work
from mrag_pipeline.runtime import usage
from mrag_pipeline.runtime.cluster import node_rooms, num_nodes
from mrag_pipeline.runtime.worker_errors import needs
from mrag_pipeline.runtime.worker_lines import Done, kept_here, level_here

log = logging.getLogger(__name__)

# Called once in each worker, with the config.
OpenWork = Callable[[Config], Work]

# Each node's own, by Ray. A selector that excludes its values leaves every other node, those that
# have not joined yet too; one that names values would make Ray fail an actor if they all leave.
NODE_ID = "ray.io/node-id"
LONG_START_S = 30.0  # a worker that starts takes seconds, one that has no place waits
WORKER_BYTES = 1_500_000_000  # a MiniLM worker at its peak; workers.count overrides


class WorkActor:
    """Holds what its work needs, and does the items it gets. Decides nothing."""

    def __init__(self, config: dict[str, Any], open_work: OpenWork, log_level: int) -> None:
        self._lines = kept_here(log_level)
        self._config = Config.parse(config)
        self._open = open_work
        self._work: Work | None = None

    def up(self) -> str:
        """The node the actor runs on; answers once the actor has been placed."""
        node_id = ray.get_runtime_context().get_node_id()
        return f"{ray.util.get_node_ip_address()}/{node_id[:8]}"

    def do(self, item: WorkItem) -> Done:
        """Does the item and returns its answer; the first call opens what the work needs."""
        try:
            # Not in __init__: an error there would appear as a dead actor, not as itself.
            if self._work is None:
                self._work = self._open(self._config)
            answer = self._work(item)
        except BaseException as error:
            self._lines.give_to(error)
            raise
        return Done(answer, self._lines.taken())


@dataclass(slots=True, eq=False)
class Worker:
    """An actor and its items, in the order assigned: it is doing the first."""

    actor: Any
    starting: Any  # the reference that is ready when the actor is up; then None
    hired_at: float = 0.0  # when the cluster was asked for it, by the monotonic clock
    flight: deque[tuple[Any, WorkItem]] = field(default_factory=deque)
    last: WorkItem | None = None  # assigned to it
    since: float = 0.0  # when it started its first item, by the monotonic clock
    up_since: float | None = None  # by the same clock; None before it is up
    node: str = ""  # where it is, as `WorkActor.up` says

    def is_up(self, node: str) -> None:
        """The cluster has placed it on the node."""
        self.starting, self.up_since, self.node = None, time.monotonic(), node
        usage.add(nodes={node: usage.NodeUsage(workers=1)})  # known before its first loss

    def up_s(self) -> float:
        """How long it has held what it was given."""
        return 0.0 if self.up_since is None else time.monotonic() - self.up_since

    @property
    def is_idle(self) -> bool:
        """Up, with nothing to do."""
        return self.starting is None and not self.flight

    def items(self) -> list[WorkItem]:
        """The items it has not answered yet."""
        return [item for _, item in self.flight]

    def references(self) -> Iterator[Any]:
        """The references to wait for."""
        if self.starting is not None:
            yield self.starting
        yield from (ref for ref, _ in self.flight)

    def give(self, item: WorkItem) -> None:
        """Assigns one more item, behind those it has."""
        if not self.flight:
            self.since = time.monotonic()
        self.flight.append((self.actor.do.remote(item), item))
        self.last = item

    def taken(
        self, ref: Any, num_rows: int = 0, has_failed: bool = False
    ) -> tuple[WorkItem, float]:
        """Removes the reference's item from flight; returns it and its seconds.

        Args:
            num_rows: that its answer tells.
        """
        [item] = [item for own, item in self.flight if own == ref]
        self.flight = deque(held for held in self.flight if held[0] != ref)
        now = time.monotonic()
        seconds, self.since = now - self.since, now
        num_bytes = 0 if has_failed else item.num_bytes
        done = usage.NodeUsage(
            1, seconds, num_bytes=num_bytes, errors=int(has_failed), num_rows=num_rows
        )
        usage.add(nodes={self.node: done})
        return item, seconds


class WorkerGroup:
    """The workers of one run at a time; idle ones stay for the next."""

    def __init__(self, config: Config, open_work: OpenWork) -> None:
        """Plans for the cluster that this process is connected to; starts no actor yet.

        Raises: ConfigError (a GPU is asked for and there is none).
        """
        self._config = config
        self._open_work = open_work
        self.plan, self._num_cpus = planned(config)
        # For later plans: workers on CPUs and on GPUs are never mixed.
        device: Literal["cuda", "cpu"] = "cuda" if self.plan.on_gpu else "cpu"
        workers = replace(config.workers, device=device)
        self._as_begun = config.model_copy(update={"workers": workers})
        self.workers: list[Worker] = []
        self._num_waiting = 0  # that were told of

    def describe(self) -> str:
        """One line for people."""
        plan = self.plan
        each = f"{plan.gpus:g} GPU" if plan.on_gpu else f"{plan.threads} thread"
        nodes = num_nodes()
        on = f" on {nodes} nodes" if nodes > 1 else ""
        return f"{plan.count} Ray actors, {each} each{on}"

    def hire(self, at_most: int) -> None:
        """Starts the planned workers; those that the cluster has no room for wait."""
        missing = min(self.plan.count, at_most) - len(self.workers)
        self.workers += [self._hired() for _ in range(missing)]

    def follow_nodes(self, useful: int) -> None:
        """Plans anew for the nodes that are there now.

        Hires for nodes that have joined. Ends workers that wait for a place if the nodes that are
        left have none for them. A worker that is up stays. Nothing changes on a Ray of this machine
        alone.

        Args:
            useful: how many workers there are items for.
        """
        if not self._config.workers.address:
            return
        before = self.plan
        self.plan, _ = planned(self._as_begun)
        spared, had = self.plan.spared, len(self.workers)
        waiting = [worker for worker in self.workers if worker.starting is not None]
        if not spared <= before.spared or (before.spared and not spared):
            self._end(waiting)  # they are hired again, for the nodes that are right now
            useful = max(useful, had)
        else:
            waiting.sort(key=lambda worker: worker.hired_at)  # the last may just be starting
            self._end(waiting[: max(0, had - self.plan.count)])
        self.hire(useful)
        if self.plan.count != before.count:
            log.info("workers_planned count=%d before=%d", self.plan.count, before.count)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        """Logs how many workers have found no place, when it has changed."""
        now = time.monotonic()
        waiting = [worker for worker in self.workers if worker.starting is not None]
        num_waiting = sum(now - worker.hired_at >= LONG_START_S for worker in waiting)
        if num_waiting != self._num_waiting:
            log.log(
                logging.WARNING if num_waiting else logging.INFO,
                "workers_waiting num=%d up=%d each=%r: `ray status` shows what is free",
                num_waiting,
                len(self.workers) - len(waiting),
                needs(self.plan),
            )
        self._num_waiting = num_waiting

    def replace(self, worker: Worker) -> None:
        """Starts another actor in place of a lost one."""
        # The actor may only be unreachable: then its resources are needed for the next.
        ray.kill(worker.actor)
        self._meter(worker)
        if worker.node:
            # Of its items it was doing the first.
            of_loss = usage.NodeUsage(lost_workers=1, errors=min(1, len(worker.flight)))
            usage.add(nodes={worker.node: of_loss})
        fresh = self._hired()
        worker.actor, worker.starting, worker.last = fresh.actor, fresh.starting, None
        worker.hired_at, worker.up_since, worker.node = fresh.hired_at, None, ""
        worker.flight.clear()

    def end_busy(self) -> None:
        """Ends the actors that are still at an item, or have not started."""
        self._end([worker for worker in self.workers if not worker.is_idle])

    def end(self) -> None:
        """Ends the actors, whatever they are doing."""
        self._end(self.workers)

    def _meter(self, worker: Worker) -> None:
        """Adds what it has held to the sums of this process: what was asked of Ray for it."""
        usage.add(worker.up_s() * self._num_cpus, worker.up_s() * self.plan.gpus)

    def _end(self, ended: list[Worker]) -> None:
        for worker in ended:
            self._meter(worker)
        with suppress(ConnectionError):  # a cluster that is gone has ended them
            for worker in ended:
                ray.kill(worker.actor)
        self.workers = [worker for worker in self.workers if worker not in ended]

    def _hired(self) -> Worker:
        options: dict[str, Any] = {
            "max_restarts": 0,
            "max_task_retries": 0,
            "num_cpus": self._num_cpus,
            # Over the nodes: each brings its network and disk for reading and writing shards,
            # and a lost node takes fewer actors along.
            "scheduling_strategy": "SPREAD",
        }
        if self.plan.on_gpu:
            options["num_gpus"] = self.plan.gpus
        else:
            variables = {"OMP_NUM_THREADS": str(self.plan.threads)}
            options["runtime_env"] = {"env_vars": variables}
        if self.plan.spared:
            options["label_selector"] = {NODE_ID: f"!in({','.join(sorted(self.plan.spared))})"}
        actor = (
            ray.remote(WorkActor)
            .options(**options)
            .remote(self._config.to_dict(), self._open_work, level_here())
        )
        return Worker(actor, actor.up.remote(), time.monotonic())


def planned(config: Config) -> tuple[WorkerPlan, float]:
    """The planned workers, and how many CPUs to request from Ray for each.

    Raises: ConfigError if a GPU is requested and there is none.
    """
    spec, nodes = config.workers, node_rooms()
    # The memory of a cluster is unknown here; its cores decide.
    memory = math.inf if spec.address else float(psutil.virtual_memory().available)
    plan = plan_workers(spec, nodes, memory, WORKER_BYTES)
    if plan.on_gpu:
        gpus = sum(node.gpus for node in nodes)
        if not spec.address and plan.gpus > gpus:
            raise ConfigError(
                f"workers.device = {spec.device!r} with {plan.gpus:g} GPU for each worker, "
                f"and this machine shows Ray {gpus:g}",
                "a GPU that Ray can see",
                "set workers.device = 'cpu', or check nvidia-smi and CUDA_VISIBLE_DEVICES",
            )
        # 0: on a machine with few cores a GPU actor could wait for one forever.
        return plan, 0.0
    cpus = sum(node.cpus for node in nodes)
    if spec.address or plan.count * plan.threads <= cpus:
        return plan, float(plan.threads)
    # The config wants more than the machine has: request a smaller share from Ray, or some would
    # never start. Above 1, Ray accepts whole numbers only.
    share = cpus / plan.count
    return plan, math.floor(share) if share >= 1 else share
