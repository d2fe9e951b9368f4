"""Loads staged shards into collections: each whole or not at all, the chunks collection last.

Heads are loaded several at once where the index says so; most of a server's time is one
collection's index or load into memory, which it does for several as fast as for one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import TYPE_CHECKING

from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import (
    chunks_collection,
    head_collection,
    lexical_collection,
)
from mrag_pipeline.errors import PlanRefused, VerifyFailed
from mrag_pipeline.ports import ChunkRow, CollectionSpec, Progress, Staging, VersionBuilds, Versions
from mrag_pipeline.settings.lexical import LexicalSpec

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


def collections_of(
    index: str, version: str, card: EncoderCard, lexical: LexicalSpec | None
) -> tuple[CollectionSpec, ...]:
    """The H head collections in their order, the lexical one if there is one, the chunks last."""
    heads = (
        CollectionSpec(head_collection(index, version, head), "head", card.head_dim)
        for head in card.heads
    )
    chunks = CollectionSpec(chunks_collection(index, version), "chunks", card.standard_dim)
    if lexical is None:
        return (*heads, chunks)
    words = CollectionSpec(lexical_collection(index, version), "lexical", 0, lexical)
    return (*heads, words, chunks)


def load(
    manifest: Manifest, staging: Staging, index: VersionBuilds, num_chunks: int, progress: Progress
) -> int:
    """Every collection of the version holds its `num_chunks` rows, indexed and loaded.

    A collection that is there and complete is skipped; any other is dropped and built anew.
    Returns: how many collections were built.
    Raises: VerifyFailed if a count is not what the receipts say; PlanRefused if the version is
        live and was synced since; IndexBusy, IndexUnavailable.
    """
    collections = collections_of(
        manifest.index, manifest.version, manifest.encoder, manifest.lexical
    )
    synced = _was_synced(manifest, index)
    is_live = index.live() == manifest.version
    progress.phase("load", num_chunks * len(collections), "rows")
    reporting = Lock()

    def advance(rows: int) -> None:
        with reporting:
            progress.advance(rows)

    def load_one(number: int, stopped: Event) -> bool:
        collection = collections[number]
        if not synced and index.is_complete(collection, num_chunks):
            advance(num_chunks)
            return False

        def on_rows(rows: int) -> None:
            if stopped.is_set():
                raise _Stopped
            advance(rows)

        tables = _tables(manifest, staging, number)
        if is_live and index.damage(collection.name) is not None:
            num_rows = index.rebuild(collection, tables)  # no reader can use it
            on_rows(num_rows)
        else:
            num_rows = index.load(collection, tables, on_rows)
        if num_rows != num_chunks:
            raise VerifyFailed(
                f"{collection.name} holds {num_rows} rows after loading",
                f"{num_chunks}, as the shards' receipts say",
                "run the same command again: the collection is dropped and loaded anew",
            )
        log.info("collection_loaded name=%s rows=%d", collection.name, num_rows)
        return True

    *heads, chunks = range(len(collections))
    was_built = _run_together(load_one, heads, index.capabilities().loads_at_once)
    # The chunks last: a version's rows are counted by them.
    was_built += [load_one(chunks, Event())]
    if not all(was_built):
        progress.note(
            f"{was_built.count(False)} of {len(was_built)} collections were loaded already"
        )
    progress.finish()
    return was_built.count(True)


def staged_rows(chunks: pa.Table) -> list[ChunkRow]:
    """The chunks rows of a staged table, without their metadata."""
    return [
        ChunkRow(
            id=row["chunk_id"],
            document_id=row["document_id"],
            ordinal=row["ordinal"],
            start=row["start"],
            end=row["end"],
            title=row["title"],
            text=row["text"],
            metadata={},
        )
        for row in chunks.drop_columns(["vector", "metadata"]).to_pylist()
    ]


class _Stopped(Exception):
    """Another load has failed: this one stops."""


def _run_together(
    run: Callable[[int, Event], bool], numbers: Iterable[int], num_threads: int
) -> list[bool]:
    """The results of `run` for each number, in order, `num_threads` at a time.

    The first error stops all: what has not begun never does, the event tells what runs to stop,
    and nothing runs any more when the error is raised.
    """
    stopped = Event()
    if num_threads < 2:
        return [run(number, stopped) for number in numbers]

    def watched(number: int) -> bool:
        if stopped.is_set():
            raise _Stopped
        try:
            return run(number, stopped)
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(num_threads, "load") as threads:
        try:
            futures = [threads.submit(watched, number) for number in numbers]
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            stopped.set()
            raise
    errors = [error for future in futures if (error := future.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, _Stopped)):
        raise error  # the first that is not `_Stopped`
    return [future.result() for future in futures]


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


def _tables(manifest: Manifest, staging: Staging, number: int) -> Iterator[pa.Table]:
    heads = manifest.encoder.heads
    for shard in manifest.shards:
        if number < len(heads):
            yield staging.head(shard.index, heads[number])
        else:
            yield staging.chunks(shard.index)
