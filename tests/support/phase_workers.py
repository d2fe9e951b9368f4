"""Opens, in a worker, what a phase does in the test's process; a worker may die of it."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import time
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

LATE_S = 60.0  # an item that takes 2 s more than the others is given to a second worker


def ray_pools(
    folder: Path,
    count: int,
    *,
    dies_at: int | None = None,
    dies_of: str = "",
    late_at: int | None = None,
) -> OpenPool:
    """Pools of so many Ray actors for any phase; what it works with reaches them as a file.

    Args:
        dies_at: the first worker that is given the item with this number is killed.
        dies_of: the item's class; any if it is empty.
        late_at: the first that has done this one does not answer for a minute.
    """

    def opened(work: Work, _num_bytes: int) -> WorkerPool[Any, Any]:
        file = folder / "work.pickle"
        file.write_bytes(pickle.dumps(work))
        for mark in ("killed", "late", "again"):
            (folder / mark).unlink(missing_ok=True)
        config = Config.parse({"workers": {"count": count, "device": "cpu"}})
        opener = partial(_open_mortal, file, dies_at, dies_of, late_at)
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


def was_done_again(folder: Path) -> bool:
    """Whether a second worker has done the late item of the last phase."""
    return (folder / "again").exists()


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does the items of a phase: Ray actors, or nobody but this process."""

    folder: Path
    count: int
    dies_at: int | None
    dies_of: str = ""
    late_at: int | None = None

    @property
    def pools(self) -> OpenPool:
        if not self.count:
            return pickled_pools
        return ray_pools(
            self.folder,
            self.count,
            dies_at=self.dies_at,
            dies_of=self.dies_of,
            late_at=self.late_at,
        )

    def check(self) -> None:
        """A worker was killed, or an item done by two, if it had to be."""
        assert was_killed(self.folder) is (self.dies_at is not None)
        assert was_done_again(self.folder) is (self.late_at is not None)


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
    """Does as another, but once: then it dies before an item, or answers late."""

    inner: Callable[[Any], Any]
    dies_at: int | None
    dies_of: str
    late_at: int | None
    folder: Path  # for marks

    def __call__(self, item: Any) -> Any:
        """The other's answer."""
        killed, late = self.folder / "killed", self.folder / "late"
        is_meant = self.dies_of in ("", type(item).__name__)
        if is_meant and item.index == self.dies_at and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if item.index != self.late_at:
            return self.inner(item)
        name = hashlib.sha256(pickle.dumps(item)).hexdigest()  # another phase has its number, too
        if not late.exists():
            late.write_text(name)
            answer = self.inner(item)
            time.sleep(LATE_S)
            return answer
        if late.read_text() == name:
            (self.folder / "again").touch()
        return self.inner(item)


def _open_mortal(
    file: Path, dies_at: int | None, dies_of: str, late_at: int | None, _config: Config
) -> Mortal:
    return Mortal(pickle.loads(file.read_bytes()), dies_at, dies_of, late_at, file.parent)
