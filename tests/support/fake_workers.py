"""Embedders that do as their shard says, for tests of the pools. They run in other processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.errors import BrokenFile, IndexUnavailable
from mrag_pipeline.runtime.embedder import Embedder
from tests.support.fake_staging import a_manifest

OK, SLOW, DIES, BROKEN, BUSY = "ok", "slow", "dies", "broken", "busy"
LONG, HANGS = "long", "hangs"  # seconds; for ever, as far as a test goes
_SECONDS = {SLOW: 0.5, LONG: 8.0, HANGS: 3_600.0}


def a_shard(index: int, orders: Sequence[str] = ()) -> Shard:
    """A shard; its n-th attempt does what `orders[n]` says, later ones are fine."""
    return Shard(index, (Slice(",".join(orders) or OK, "file", 0, 1, 1, "s"),))


def a_plan() -> Manifest:
    """Whatever plan: these embedders look at the shard alone."""
    return a_manifest()


class ScriptedEmbedder:
    """Writes each attempt's process id to `folder/{shard}.{attempt}`, then does as ordered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def embed(self, shard: Shard) -> Receipt:
        attempt = len(list(self._folder.glob(f"{shard.index}.*")))
        (self._folder / f"{shard.index}.{attempt}").write_text(str(os.getpid()))
        orders = shard.slices[0].path.split(",")
        order = orders[attempt] if attempt < len(orders) else OK
        if order == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if order == BROKEN:
            raise BrokenFile(f"shard {shard.index} is broken", "a whole one", "mend it")
        if order == BUSY:
            raise IndexUnavailable(f"shard {shard.index}: no answer")
        time.sleep(_SECONDS.get(order, 0.0))
        return Receipt(shard.index, "f", 1, 2, 3, 0, 4, ())


def open_scripted(folder: Path, _config: Config, _version: str, _plan: str) -> Embedder:
    """To be bound to its folder with functools.partial."""
    return ScriptedEmbedder(folder)


class SeeingEmbedder(ScriptedEmbedder):
    """Writes, for its process, which devices it may see."""

    def embed(self, shard: Shard) -> Receipt:
        (self._folder / f"devices.{os.getpid()}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
        return super().embed(shard)


def open_seeing(folder: Path, _config: Config, _version: str, _plan: str) -> Embedder:
    """To be bound to its folder with functools.partial."""
    return SeeingEmbedder(folder)


class dies_where_it_is_opened:  # noqa: N801  # stands where a function does
    """Kills the process that unpickles it: a worker, before it is up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return _kill_me, ()

    def __call__(self, config: Config, version: str, plan: str) -> Embedder:
        raise AssertionError("never opened")


def _kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def attempts(folder: Path, shard: int) -> int:
    """How often the shard was tried."""
    return len(list(folder.glob(f"{shard}.*")))


def worker_pids(folder: Path) -> set[int]:
    """The processes that have tried a shard."""
    return {int(file.read_text()) for file in folder.iterdir()}
