"""Finds a sync's documents of which a chunk's id is another chunk's, before the index changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.ports import DeltaStaging
from mrag_pipeline.stages.ingest.colliding_chunks import Collision, documents_set_aside


def take_back(staging: DeltaStaging) -> None:
    """Leaves no document out: a run that was cut short after `set_colliding_aside` did."""
    if staging.duplicates():
        staging.write_duplicates({})


def set_colliding_aside(
    manifest: Manifest,
    staging: DeltaStaging,
    twice: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> list[DeadLetter]:
    """Stores and returns the documents left out: the chunk that has the id already stays.

    That is a chunk of the index that the sync does not remove, or one staged earlier in the sync.
    Running it again before the index is changed gives the same result. The shards are read only if
    there are such ids.

    Args:
        twice: ids that are staged more than once; taken: staged ids of chunks of the index that
            the sync does not remove. Of all staged chunks: nothing is left out yet.
    """
    if not (len(twice) or len(taken)):
        return []
    letters = documents_set_aside(_collisions(manifest, staging, twice, taken), staging)
    staging.write_duplicates(letters)
    return [letter for own in letters.values() for letter in own]


def _collisions(
    manifest: Manifest,
    staging: DeltaStaging,
    twice: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> Iterator[Collision]:
    """The staged chunks whose ids earlier chunks have, in order."""
    wanted, known = np.union1d(twice, taken), set(taken.tolist())
    for shard in manifest.shards:
        ids = staging.chunk_ids(shard.index)
        for row in np.flatnonzero(np.isin(ids, wanted)).tolist():
            chunk_id = int(ids[row])
            if chunk_id in known:
                yield Collision(chunk_id, shard.index, row)
            known.add(chunk_id)
