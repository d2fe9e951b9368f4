"""Staged shards to collections: each whole or not at all, the chunks collection last."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import chunks_collection, head_collection
from mrag_pipeline.errors import PlanRefused, VerifyFailed
from mrag_pipeline.ports import CollectionSpec, Progress, Staging, VectorIndex

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


def collections_of(index: str, version: str, card: EncoderCard) -> tuple[CollectionSpec, ...]:
    """The version's H head collections in the order of the heads, then its chunks collection."""
    heads = (
        CollectionSpec(head_collection(index, version, head), "head", card.head_dim)
        for head in card.heads
    )
    chunks = CollectionSpec(chunks_collection(index, version), "chunks", card.standard_dim)
    return (*heads, chunks)


def load(
    manifest: Manifest, staging: Staging, index: VectorIndex, num_chunks: int, progress: Progress
) -> int:
    """Every collection of the version holds its `num_chunks` rows, indexed and loaded.

    A collection that is there and complete is skipped; any other is dropped and built anew.
    Returns: how many collections were built.
    Raises: VerifyFailed if a count is not what the receipts say; PlanRefused if the version is
        live and was synced since; IndexBusy, IndexUnavailable.
    """
    collections = collections_of(manifest.index, manifest.version, manifest.encoder)
    synced = _was_synced(manifest, index)
    progress.phase("load", num_chunks * len(collections), "rows")
    built = 0
    for at, collection in enumerate(collections):
        if not synced and index.is_complete(collection, num_chunks):
            progress.advance(num_chunks)
            continue
        counted = index.load(collection, _tables(manifest, staging, at), progress.advance)
        if counted != num_chunks:
            raise VerifyFailed(
                f"{collection.name} holds {counted} rows after loading",
                f"{num_chunks}, as the shards' receipts say",
                "run the same command again: the collection is dropped and loaded anew",
            )
        built += 1
        log.info("collection_loaded name=%s rows=%d", collection.name, counted)
    if built < len(collections):
        progress.note(
            f"{len(collections) - built} of {len(collections)} collections were loaded already"
        )
    progress.finish()
    return built


def _was_synced(manifest: Manifest, index: VectorIndex) -> bool:
    """Whether the version's collections hold something else than its first shards."""
    record = index.record(manifest.version)
    if record is None or not (record.syncs or record.pending):
        return False
    if index.live() == manifest.version:
        raise PlanRefused(
            f"version {manifest.version} is live, and {record.syncs} syncs have changed it since "
            "this corpus was ingested",
            "a corpus that differs from the version's first one, or a sync",
            "run `mrag sync`: it brings the live version to the corpus as it is now",
        )
    return True


def _tables(manifest: Manifest, staging: Staging, at: int) -> Iterator[pa.Table]:
    heads = manifest.encoder.heads
    for shard in manifest.shards:
        if at < len(heads):
            yield staging.head(shard.index, heads[at])
        else:
            yield staging.chunks(shard.index)
