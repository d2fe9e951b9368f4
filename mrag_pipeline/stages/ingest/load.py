"""Loads staged shards into collections: each whole or not at all, the chunks collection last.

Heads are loaded several at once, by threads where the index says so, or by workers; most of a
server's time is one collection's index or load into memory, which it does for several as fast as
for one. A large collection is filled in ranges, by several at once too. `load_items.py` does both.
"""

from __future__ import annotations

import logging
from contextlib import closing
from math import inf
from threading import Lock
from typing import Any

from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.errors import PlanRefused, VerifyFailed
from mrag_pipeline.ports import (
    OpenPool,
    Progress,
    Staging,
    VersionBuilds,
    Versions,
)
from mrag_pipeline.stages.ingest.load_items import EndItem, Loader, LoadItem, load_items
from mrag_pipeline.stages.ingest.load_ranges import begin_ranges
from mrag_pipeline.stages.thread_pool import ThreadPool
from mrag_pipeline.stages.version_collections import collections_of

log = logging.getLogger(__name__)


def load(
    manifest: Manifest,
    staging: Staging,
    index: VersionBuilds,
    num_chunks: int,
    progress: Progress,
    open_pool: OpenPool | None = None,
    range_bytes: float = inf,
) -> int:
    """Every collection of the version holds its `num_chunks` rows, indexed and loaded.

    A collection that is there and complete is skipped; any other is dropped and built anew, or
    filled on where it is filled in ranges.

    Args:
        range_bytes: collections with more are filled in ranges of about so much, where the index
            can do that.
        open_pool: where collections are built; None: in threads of this process.
    Returns: how many collections were built.
    Raises: VerifyFailed if a count is not what the receipts say; PlanRefused if the version is
        live and was synced since; IndexBusy, IndexUnavailable.
    """
    collections = collections_of(manifest)
    whole = load_items(collections, num_chunks, _was_synced(manifest, index))
    progress.phase("load", num_chunks * len(collections), "rows")
    reporting = Lock()

    def advance(rows: int) -> None:
        with reporting:
            progress.advance(rows)

    loader = Loader(manifest, staging, index, advance)
    num_bytes = sum(item.num_bytes for item in whole)
    built: set[int] = set()
    with closing((open_pool or in_threads(index))(loader, num_bytes)) as pool:
        in_ranges = begin_ranges(manifest, staging, index, collections, whole, range_bytes)
        advance(sum(ranges.num_rows_there for ranges in in_ranges.values()))
        *heads, chunks = [
            in_ranges[item.index].end if item.index in in_ranges else item for item in whole
        ]
        fills = [item for ranges in in_ranges.values() for item in ranges.missing]
        whole_heads = [item for item in heads if isinstance(item, LoadItem)]
        # The largest first: one that begins last is waited for.
        fills.sort(key=lambda item: (-item.num_bytes, item.index))
        ends = [item for item in heads if isinstance(item, EndItem)]
        # Ranges first: any number of them may be filled at a time, but not of whole collections.
        # The chunks last: a version's rows are counted by them.
        for items in ([*fills, *whole_heads], ends, [chunks]):
            for loaded in pool.run(items):
                # None, if it was done here.
                advance(loaded.num_rows - loader.reported[loaded.item])
                if loaded.was_built:
                    built.add(loaded.collection)
                name = collections[loaded.collection].name
                log.info("loaded name=%s item=%d built=%s", name, loaded.item, loaded.was_built)
    if len(built) < len(collections):
        num_there = len(collections) - len(built)
        progress.note(f"{num_there} of {len(collections)} collections were loaded already")
    progress.finish()
    return len(built)


def in_threads(index: VersionBuilds) -> OpenPool:
    """Opens the pool of this process's threads: as many as the index takes loads at once."""
    at_once = index.capabilities().loads_at_once

    def opened(work: Any, _num_bytes: int) -> ThreadPool:
        return ThreadPool(work, at_once)

    return opened


def _was_synced(manifest: Manifest, index: Versions) -> bool:
    """Whether syncs have changed the version's collections since they were built."""
    record = index.record(manifest.version)
    if record is None and index.live() == manifest.version:
        raise VerifyFailed(
            f"{manifest.version} is live, and its record is lost", "its record", "run `mrag repair`"
        )
    if record is None or not (record.syncs or record.pending):
        return False
    if index.live() == manifest.version:
        raise PlanRefused(
            f"version {manifest.version} is live, and {record.syncs} syncs have changed it since "
            "this corpus was ingested",
            "a corpus that differs from the version's first one, or a sync",
            "run `mrag sync`: it brings the live version to the corpus as it is now; "
            "`mrag repair` mends what is damaged",
        )
    return True
