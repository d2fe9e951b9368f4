"""Pools whose workers are warm: they have imported and opened what a phase needs, untimed."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrag_pipeline.config import Config
from mrag_pipeline.ports import Work
from mrag_pipeline.runtime.ray_pool import RayPool


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Open everything, do some of a phase's items, and wait until so many workers have."""

    index: int
    folder: str
    count: int
    items: tuple[Any, ...]
    num_bytes: int = 1


@dataclass(frozen=True, slots=True)
class Opened:
    """Does a phase's items, and warms up."""

    inner: Work
    folder: str  # of the version: the CPU seconds of items are written there

    def __call__(self, item: Any) -> Any:
        """The inner work's answer."""
        if not isinstance(item, WarmUp):
            began = time.process_time()
            answer = self.inner(item)
            with Path(self.folder, f"cpu-{os.getpid()}").open("a") as file:
                file.write(f"{time.process_time() - began}\n")
            return answer
        for own in item.items:  # which also imports what they need
            self.inner(own)
        Path(item.folder, str(os.getpid())).touch()
        while len(list(Path(item.folder).iterdir())) < item.count:
            time.sleep(0.01)
        return None


def items_cpu_s(folder: str) -> float:
    """The CPU seconds of all items that `Opened` has noted there since they were asked for last."""
    seconds = 0.0
    for file in Path(folder).glob("cpu-*"):
        seconds += sum(map(float, file.read_text().split()))
        file.unlink()
    return seconds


@dataclass
class Pools:
    """Opens pools whose workers warm up before their first items, and knows how long that took."""

    config: Config
    count: int
    open_work: Callable[[Config], Work]
    opening_s: float = 0.0
    opening_cpu_s: float = 0.0

    def __call__(self, _work: Work, _num_bytes: int) -> WarmPool:
        """A pool."""
        with self._not_counted():
            workers = replace(self.config.workers, count=self.count)
            config = self.config.model_copy(update={"workers": workers})
            return WarmPool(
                RayPool(config, self.open_work, unit="item", repeats_errors=False), self
            )

    def warm_up(self, pool: RayPool, items: Sequence[Any]) -> None:
        """Every worker does the first and the last of these items."""
        with self._not_counted(), tempfile.TemporaryDirectory() as folder:
            some = (items[0], items[-1])
            list(
                pool.run([WarmUp(number, folder, self.count, some) for number in range(self.count)])
            )

    @contextmanager
    def _not_counted(self) -> Iterator[None]:
        began, cpu_began = time.monotonic(), time.process_time()
        yield
        self.opening_s += time.monotonic() - began
        self.opening_cpu_s += time.process_time() - cpu_began


@dataclass
class WarmPool:
    """The worker pool with workers that have imported and opened what a phase needs."""

    inner: RayPool
    pools: Pools
    is_warm: bool = False

    def describe(self) -> str:
        """As the pool's."""
        return self.inner.describe()

    def run(self, items: Iterable[Any]) -> Iterator[Any]:
        """As the pool's."""
        if not self.is_warm:
            items = list(items)  # the last one is needed too
            self.pools.warm_up(self.inner, items)
            self.is_warm = True
        yield from self.inner.run(items)

    def close(self) -> None:
        """Ends the workers."""
        self.inner.close()
