"""Loads by workers, one of which dies, and what their collections hold then."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.stages.ingest.load_items import Loader
from mrag_pipeline.stages.version_collections import collections_of
from mrag_pipeline.wiring.phase_work import loader
from tests.support.builds import Build


def dying(version: str, mark: Path, config: Config) -> Loader:
    """A worker's loader; the first worker that has inserted rows is killed before it goes on."""

    def killed_once(_rows: int) -> None:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return replace(loader(version, config), advance=killed_once)


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
