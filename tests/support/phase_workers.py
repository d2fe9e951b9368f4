"""Opens, in a worker, what a phase does in the test's process; a worker may die of it."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mrag_pipeline.config import Config
from mrag_pipeline.ports import OpenPool, Work, WorkerPool
from mrag_pipeline.runtime.ray_pool import RayPool
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.stages.serial_pool import SerialPool
from mrag_pipeline.staging.deltas import DeltaFolders, delta_name
from mrag_pipeline.staging.exports import ExportFolder
from mrag_pipeline.staging.shards import ShardFolders


def ray_pools(
    folder: Path, count: int, *, dies_at: int | None = None, dies_of: str = ""
) -> OpenPool:
    """Pools of so many Ray actors for any phase; what it works with reaches them as a file.

    Args:
        dies_at: the first worker that is given the item with this number is killed.
        dies_of: the item's class; any if it is empty.
    """

    def opened(work: Work, _num_bytes: int) -> WorkerPool[Any, Any]:
        file = folder / "work.pickle"
        file.write_bytes(pickle.dumps(work))
        (folder / "killed").unlink(missing_ok=True)
        config = Config.parse({"workers": {"count": count, "device": "cpu"}})
        opener = partial(_open_mortal, file, dies_at, dies_of)
        return RayPool(config, opener, unit="item", repeats_errors=False)

    return opened


def pickled_pools(work: Work, _num_bytes: int) -> WorkerPool[Any, Any]:
    """A pool in this process for any phase; work, items and answers pass as they do to workers."""
    opened = pickle.loads(pickle.dumps(work))

    def done(item: Any) -> Any:
        return pickle.loads(pickle.dumps(opened(pickle.loads(pickle.dumps(item)))))

    return SerialPool(lambda: done)


def was_killed(folder: Path) -> bool:
    """Whether a worker of the last phase was killed."""
    return (folder / "killed").exists()


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does the items of a phase: Ray actors, or nobody but this process."""

    folder: Path
    count: int
    dies_at: int | None
    dies_of: str = ""

    @property
    def pools(self) -> OpenPool:
        if not self.count:
            return pickled_pools
        return ray_pools(self.folder, self.count, dies_at=self.dies_at, dies_of=self.dies_of)

    def check(self) -> None:
        """A worker was killed if one had to be."""
        assert was_killed(self.folder) is (self.dies_at is not None)


class StagingOnDisk(ShardFolders):
    """A version's staging that a worker opens anew."""

    def __init__(self, uri: str, index: str, version: str) -> None:
        super().__init__(StagingSpec(uri=uri), index, version)
        self._where = uri, index, version

    def __reduce__(self) -> tuple[type[StagingOnDisk], tuple[str, str, str]]:
        return StagingOnDisk, self._where


class DeltaOnDisk(DeltaFolders):
    """A sync's staging that a worker opens anew."""

    def __init__(self, uri: str, index: str, version: str) -> None:
        super().__init__(StagingSpec(uri=uri), index, delta_name(version, 1))
        self._where = uri, index, version

    def __reduce__(self) -> tuple[type[DeltaOnDisk], tuple[str, str, str]]:
        return DeltaOnDisk, self._where


class ExportOnDisk(ExportFolder):
    """An export whose shards a worker writes."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._staging = StagingOnDisk(uri, "", "")  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Mortal:
    """Does as another, but once."""

    inner: Callable[[Any], Any]
    dies_at: int | None
    dies_of: str
    mark: Path

    def __call__(self, item: Any) -> Any:
        """The other's answer."""
        is_meant = self.dies_of in ("", type(item).__name__)
        if is_meant and item.index == self.dies_at and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(item)


def _open_mortal(file: Path, dies_at: int | None, dies_of: str, _config: Config) -> Mortal:
    work = pickle.loads(file.read_bytes())
    return Mortal(work, dies_at, dies_of, file.parent / "killed")
