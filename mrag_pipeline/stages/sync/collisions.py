"""Finds a sync's documents of which a chunk's id is another chunk's, before the index changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.ports import ChunkLookup, DeltaStaging
from mrag_pipeline.stages.ingest.colliding_chunks import Collision, documents_set_aside


def set_colliding_aside(
    manifest: Manifest,
    staging: DeltaStaging,
    index: ChunkLookup,
    collection: str,
    removed: Sequence[int],
) -> list[DeadLetter]:
    """Stores and returns the documents left out: the chunk that has the id already stays.

    That is a chunk of the index that the sync does not remove, or one staged earlier in the sync.
    Running it again before the index is changed gives the same result.

    Args:
        collection: the chunks collection; removed: chunk ids that the sync removes or replaces.
    """
    if staging.duplicates():  # of a run that was cut short after this
        staging.write_duplicates({})
    ids, places = _staged(manifest, staging)
    order = np.argsort(ids, kind="stable")
    is_repeated = ids[order[1:]] == ids[order[:-1]]
    is_taken = np.zeros(len(ids), bool)
    is_taken[order[1:][is_repeated]] = True
    new = np.setdiff1d(ids, np.asarray(removed, np.int64))
    # By id, not by looking through the index: what that costs depends on the sync alone.
    taken = list(index.look_up(collection, new.tolist(), ())[0])
    is_taken |= np.isin(ids, np.array(taken, np.int64))
    letters = documents_set_aside(
        (Collision(int(ids[row]), *places[row].tolist()) for row in np.flatnonzero(is_taken)),
        staging,
    )
    if letters:
        staging.write_duplicates(letters)
    return [letter for own in letters.values() for letter in own]


def _staged(
    manifest: Manifest, staging: DeltaStaging
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The staged chunks' ids (N,), in order, and the shard and row of each (N, 2)."""
    ids, places = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.int64)]
    for shard in manifest.shards:
        shard_ids = staging.chunk_ids(shard.index)
        rows = np.arange(len(shard_ids))
        ids.append(shard_ids)
        places.append(np.stack([np.full(len(rows), shard.index), rows], axis=1))
    return np.concatenate(ids), np.concatenate(places)
