"""Writes the rows of a version that are not as staging, or the chunks rows, have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.ports import CollectionSpec
from mrag_pipeline.stages.versions.repair_changes import RepairChanges
from mrag_pipeline.stages.versions.staged_version import StagedShard, StagedVersion
from mrag_pipeline.stages.versions.stored_rows import BLOCK_ROWS

Ids = NDArray[np.int64]
ShardIds = Mapping[StagedShard | None, Ids]  # where chunks are staged; None: nowhere


def unrestorable(
    staged: StagedVersion | None, wrong: Mapping[str, ShardIds], heads: Mapping[str, Head]
) -> Ids:
    """The chunks, rising, of which a row stays wrong: its staged file cannot be read.

    Their documents go, so their other rows need not be written. Shards with wrong rows in one
    collection alone are not looked at: they have no other rows to write.

    Args:
        wrong: as in `restore`, by the names of collections; not of words.
        heads: of collections of heads, by name; the others are of chunks.
    """
    num_collections = Counter(shard for by_shard in wrong.values() for shard in by_shard)
    found = [np.zeros(0, np.int64)]
    for name, by_shard in wrong.items():
        for shard, ids in by_shard.items():
            if num_collections[shard] == 1:
                continue
            if staged is None or shard is None or not staged.can_read(shard, heads.get(name)):
                found.append(ids)
    return np.unique(np.concatenate(found))


def without(wrong: ShardIds, ids: Ids) -> dict[StagedShard | None, Ids]:
    """The same without these chunks; a shard that has no other is left out."""
    kept = {shard: np.setdiff1d(own, ids) for shard, own in wrong.items()}
    return {shard: own for shard, own in kept.items() if len(own)}


def restore(
    changes: RepairChanges,
    collection: CollectionSpec,
    staged: StagedVersion | None,
    head: Head | None,
    wrong: ShardIds,
) -> tuple[int, Ids]:
    """Writes rows as they are staged.

    Args:
        wrong: the chunks whose rows are missing, there twice or other than staged.
    Returns: how many rows were written; the chunks of the others, rising: their staged shard is
        not here, or cannot be read.
    """
    num_rows = 0
    left = [np.zeros(0, np.int64)]
    for shard, ids in wrong.items():
        table = None
        if staged is not None and shard is not None:
            table = staged.rows(shard, head, ids)
        if table is None:
            left.append(ids)
        elif table.num_rows:
            changes.begun().upsert(collection, table)
            num_rows += table.num_rows
    return num_rows, np.unique(np.concatenate(left))


def restore_words(
    changes: RepairChanges, words: CollectionSpec, staged: StagedVersion | None, wrong: ShardIds
) -> int:
    """Writes words that are missing, are there twice or are other ones; returns of how many.

    From staging; those that it does not have from the chunks rows, which hold title and text.

    Args:
        wrong: the chunks that they are of.
    """
    num_rows, left = restore(changes, words, staged, None, wrong)
    for start in range(0, len(left), BLOCK_ROWS):
        ids = left[start : start + BLOCK_ROWS].tolist()
        rows = changes.index.chunks(changes.record.chunks_collection(), ids)
        if rows:
            changes.begun().write_words(words, list(rows.values()))
            num_rows += len(rows)
    return num_rows
