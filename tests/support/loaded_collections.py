"""Loads by workers, one of which dies or is late, and what their collections hold then."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.stages.ingest.load_items import EndItem, Loaded, Loader, LoadItem, RangeItem
from mrag_pipeline.stages.version_collections import collections_of
from mrag_pipeline.wiring.phase_work import loader
from tests.support.builds import Build

LATE_S = 120.0  # ranges take a second or two


def dying(version: str, mark: Path, config: Config) -> Loader:
    """A worker's loader; the first worker that has inserted rows is killed before it goes on."""

    def killed_once(_rows: int) -> None:
        if _is_first(mark):
            os.kill(os.getpid(), signal.SIGKILL)

    return replace(loader(version, config), advance=killed_once)


@dataclass(frozen=True, slots=True)
class LateRange:
    """Does the items of a load; the first worker that has loaded a range does not answer then."""

    inner: Loader
    mark: Path

    def __call__(self, item: LoadItem | RangeItem | EndItem) -> Loaded:
        """The other's answer."""
        loaded = self.inner(item)
        if isinstance(item, RangeItem) and _is_first(self.mark):
            time.sleep(LATE_S)
        return loaded


def late(version: str, mark: Path, config: Config) -> LateRange:
    """A worker's loader; one of them comes to an end that nobody hears of in time."""
    return LateRange(loader(version, config), mark)


def _is_first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def contents(config: Config, build: Build) -> dict[str, Any]:
    """What each collection of the build's version holds, for all staged chunks."""
    manifest = build.plan().manifest
    shards = [shard.index for shard in manifest.shards]
    ids = [int(i) for shard in shards for i in build.staging.chunk_ids(shard)]
    with closing(wiring.index(config)) as index:
        names = [one.name for one in collections_of(manifest) if one.kind != "lexical"]
        found: dict[str, Any] = {"texts": index.chunks(names[-1], ids)}
        for name in names:
            assert index.count(name) == len(ids)
            found[name] = {i: v.tobytes() for i, v in index.vectors(name, ids).items()}
    return found
