"""Does the items of a phase on long-lived Ray actors, a bounded number in flight.

An actor opens what its work needs once: a model, an index. It gets items only once it is up, so
actors that the cluster has no room for cost nothing. Nodes that join during a run get actors too
(docs/decisions/0132-workers-follow-the-nodes.md). When an actor dies, the item it was doing is
tried again on a new one; the items of an actor that is far behind are also given to an idle actor.
That is harmless: an embedded shard is found by its receipt, checks only read, and the first answer
counts. It is not done where a second copy would do harm: a whole collection is loaded by one actor.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from mrag_pipeline.config import Config
from mrag_pipeline.domain.dispatch import ItemQueue, Limit, LimitedItems, Pace
from mrag_pipeline.domain.work_item import WorkItem, rows_of
from mrag_pipeline.errors import MragError, TransientError
from mrag_pipeline.runtime import usage
from mrag_pipeline.runtime.cluster import answering, check_alive, connect_ray, disconnect_ray
from mrag_pipeline.runtime.ray_workers import OpenWork, Worker, WorkerGroup
from mrag_pipeline.runtime.worker_errors import lost, no_place, own
from mrag_pipeline.runtime.worker_lines import log_lines, log_lines_of
from mrag_pipeline.settings.workers import WorkersSpec

log = logging.getLogger(__name__)

WAIT_S = 1.0
AHEAD = 64  # items of a generator that are held at least, if there are so many
LOOK_S = 10.0  # between looks at which nodes have joined or left


class RayPool:
    """The worker pool on a local Ray or a cluster."""

    def __init__(
        self,
        config: Config,
        open_work: OpenWork,
        *,
        unit: str = "shard",
        repeats_errors: bool = True,
        may_double: Callable[[Any], bool] = lambda _: True,
        limit: Limit | None = None,
    ) -> None:
        """Connects to the cluster, or starts a local Ray.

        Args:
            unit: what an item is called, for people.
            repeats_errors: whether an item is tried again after a transient error too.
            may_double: whether that item, when it is late, is also given to an idle actor.
            limit: of items that come after the others.
        Raises: WorkerLost (no cluster), ConfigError (a GPU is asked for and there is none).
        """
        self._spec = config.workers
        self._unit = unit
        self._repeats_errors = repeats_errors
        self._may_double = may_double
        self._limit = limit
        self._started_ray = connect_ray(config.workers.address)
        try:
            self._group = WorkerGroup(config, open_work)
        except BaseException:
            self._leave()
            raise

    def describe(self) -> str:
        """One line for people."""
        return self._group.describe()

    def run(self, items: Iterable[Any]) -> Iterator[Any]:
        """An answer for each item, as they finish.

        An item is tried again, up to `workers.attempts` times in all, when its worker dies or
        its error is transient. A generator is asked for items as they are needed.
        Raises: WorkerLost, the item's own last error, or at once its permanent error.
        """
        run = _Run(
            self._group,
            items,
            self._spec,
            self._unit,
            self._repeats_errors,
            self._may_double,
            self._limit,
        )
        with answering():
            yield from run.answers()

    def close(self) -> None:
        """Ends the actors, and the Ray that was started for them."""
        self._group.end()
        self._leave()

    def _leave(self) -> None:
        if self._started_ray:
            self._started_ray = False
            disconnect_ray()


class _Run:
    """The state of one run: items to do, items in flight, and failures."""

    def __init__(
        self,
        group: WorkerGroup,
        items: Iterable[WorkItem],
        spec: WorkersSpec,
        unit: str,
        repeats_errors: bool,
        may_double: Callable[[Any], bool],
        limit: Limit | None = None,
    ) -> None:
        self._coming = iter(items)
        self._is_all_held = isinstance(items, Sequence)
        self._group = group
        self._spec = spec
        self._unit = unit
        self._repeats_errors = repeats_errors
        self._may_double = may_double
        self._limited = LimitedItems(limit)
        self._queue: ItemQueue[WorkItem] = ItemQueue([])
        self._missing: set[int] = set()  # items that are held and have no answer
        self._failed: Counter[int] = Counter()
        self._suspects: set[int] = set()  # were assigned to a worker when it died
        self._pace = Pace(spec.late_factor)
        self._unborn = 0  # workers that died while starting, since the last one came up
        self._look_at = 0.0  # when to look at the nodes again, by the monotonic clock

    def answers(self) -> Iterator[Any]:
        """See RayPool.run."""
        group, timeout_s = self._group, self._spec.start_timeout_s
        self._draw()
        group.hire(self._useful_workers())
        idle_since = time.monotonic()
        self._look_at = idle_since + LOOK_S
        while self._missing:
            self._follow_nodes()
            self._give()
            self._give_again()
            awaited = {ref: worker for worker in group.workers for ref in worker.references()}
            check_alive()
            ready, _ = ray.wait(list(awaited), num_returns=1, timeout=WAIT_S)
            if ready or any(worker.flight for worker in group.workers):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > timeout_s:
                raise no_place(group.plan, timeout_s)
            for ref in ready:
                yield from self._received(ref, awaited[ref])
            self._draw()
        # Some may still be doing an item that another has finished.
        group.end_busy()

    def _draw(self) -> None:
        """Takes the items of a list, or as many of a generator as keep all workers busy."""
        most = math.inf
        if not self._is_all_held:
            most = max(AHEAD, (self._spec.in_flight + 1) * self._group.plan.count)
        while len(self._missing) < most and (item := next(self._coming, None)) is not None:
            self._queue.add(item)
            self._missing.add(item.index)
            self._limited.add(item)

    def _follow_nodes(self) -> None:
        """Every so often: has the group follow the nodes that have joined or left."""
        if time.monotonic() >= self._look_at:
            self._group.follow_nodes(self._useful_workers())
            self._look_at = time.monotonic() + LOOK_S

    def _useful_workers(self) -> int:
        """How many workers have an item, or could have one."""
        busy = sum(bool(worker.flight) for worker in self._group.workers)
        return busy + len(self._queue) - self._limited.num_kept_waiting(self._missing)

    def _received(self, ref: Any, worker: Worker) -> Iterator[Any]:
        """The answer behind the reference, if it was still missing; otherwise nothing."""
        try:
            answer = ray.get(ref)
        except RayTaskError as error:
            log_lines_of(error.cause, worker.node)
            cause = own(error)
            if ref == worker.starting:
                raise cause from None
            item, _ = worker.taken(ref, has_failed=True)
            if not (self._repeats_errors and isinstance(cause, TransientError)):
                raise cause from None
            self._again(item, cause, worker.node)
            return
        except RayError as error:
            self._lost_worker(ref, worker, error)
            return
        if ref == worker.starting:
            worker.is_up(answer)
            self._unborn = 0
            log.info("worker_up node=%s", answer)
            return
        log_lines(answer.lines, worker.node)
        item, seconds = worker.taken(ref, rows_of(answer.answer))
        self._suspects.discard(item.index)
        self._pace.add(item, seconds)
        if item.index in self._missing:  # or another worker had it too, and was faster
            self._missing.remove(item.index)
            yield answer.answer

    def _lost_worker(self, ref: Any, worker: Worker, error: RayError) -> None:
        self._look_at = 0.0  # its node may have left: then another worker has no room
        if ref == worker.starting:
            self._unborn += 1
            # A lost node takes all workers that were starting on it along.
            if self._unborn >= self._spec.attempts * len(self._group.workers):
                raise lost(f"{self._unborn} workers died while starting", error) from None
            self._group.replace(worker)
            return
        items, node = worker.items(), worker.node
        self._group.replace(worker)
        self._suspects.update(item.index for item in items)
        numbers = [item.index for item in items]
        log.warning("worker_lost %ss=%s node=%s", self._unit, numbers, node)
        for item in reversed(items[1:]):
            if self._is_nobodys(item):
                self._queue.put_back(item)
        cause = lost(f"{self._unit} {items[0].index} lost its worker", error)
        self._again(items[0], cause, node)

    def _give(self) -> None:
        """Assigns items to the workers that are up: one each, then more if enough are left."""
        workers = self._group.workers
        for held in range(max(1, self._spec.in_flight)):
            without = sum(not worker.flight for worker in workers)
            for worker in workers:
                # The last items do not queue behind another while some worker has none.
                spare = len(self._queue) - (without if held else 0)
                if spare <= 0:
                    break
                if worker.starting is not None or len(worker.flight) != held:
                    continue
                # An item that was assigned to a worker when it died is assigned alone: if the
                # worker dies again, that item is to blame.
                if held and worker.items()[0].index in self._suspects:
                    continue
                item = self._queue.take(worker.last)
                if self._limited.are_enough(item, (own.items() for own in workers)):
                    self._queue.put_back(item)
                    return  # those behind it are limited too
                # A limited item counts from when it is assigned, so it waits behind no other.
                if held and (item.index in self._suspects or item in self._limited):
                    self._queue.put_back(item)
                    continue
                worker.give(item)

    def _give_again(self) -> None:
        """When no item waits: also assigns the items of late workers to idle ones."""
        idle = [worker for worker in self._group.workers if worker.is_idle]
        if not idle or len(self._queue):
            return
        for item in self._late()[: len(idle)]:
            log.warning("%s_late number=%d given to a second worker", self._unit, item.index)
            idle.pop().give(item)

    def _late(self) -> list[WorkItem]:
        """Items of one worker alone that is far behind; those it has not started come first."""
        now = time.monotonic()
        holders = Counter(s.index for worker in self._group.workers for s in worker.items())
        late_items = [
            item
            for worker in self._group.workers
            if worker.flight and self._pace.is_late(worker.items()[0], now - worker.since)
            for item in reversed(worker.items())
        ]
        return [
            item
            for item in late_items
            if item.index in self._missing
            and self._may_double(item)
            and holders[item.index] == 1
            and self._failed[item.index] < self._spec.attempts
        ]

    def _again(self, item: WorkItem, error: MragError, node: str) -> None:
        self._failed[item.index] += 1
        times = self._failed[item.index]
        log.warning(
            "%s_failed number=%d times=%d error=%s", self._unit, item.index, times, error.found
        )
        if not self._is_nobodys(item):
            return
        if times >= self._spec.attempts:
            raise error from None
        usage.add(nodes={node: usage.NodeUsage(retries=1)})
        self._queue.put_back(item)

    def _is_nobodys(self, item: WorkItem) -> bool:
        """Whether the item has no answer and no worker is doing it."""
        return item.index in self._missing and not any(
            item.index == other.index for worker in self._group.workers for other in worker.items()
        )
