"""What no shard can see alone: document ids in two shards, chunk ids that collide.

Memory stays bounded: ids are looked at in buckets, each bucket in one pass over the shards.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import Progress, Staging
from mrag_pipeline.stages.embed import duplicate

IDS_IN_MEMORY = 2_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Staged:
    """What a version will hold once duplicates are left out."""

    num_documents: int
    num_chunks: int
    num_dead_letters: int  # duplicates counted
    sums: ImportanceSums


def reconcile(manifest: Manifest, staging: Staging, progress: Progress) -> Staged:
    """Finds documents that an earlier shard already has, and stores that they are left out.

    The first in corpus order stays. Running it again finds the same.
    Raises: StagingError if a shard is missing or two passages share a chunk id.
    """
    receipts = []
    indexes = (shard.index for shard in manifest.shards)
    found = staging.receipts(indexes, manifest.fingerprint)
    for shard, receipt in zip(manifest.shards, found, strict=True):
        if receipt is None:
            raise StagingError(
                f"shard {shard.index} is not staged in {staging.describe()}",
                "a receipt for every shard",
                "run `mrag ingest` again: it embeds what is missing",
            )
        receipts.append(receipt)
    num_documents = sum(receipt.num_documents for receipt in receipts)
    progress.phase("reconcile", len(receipts), "shards")
    duplicates = _duplicates(manifest, staging, 1 + num_documents // IDS_IN_MEMORY)
    staging.write_duplicates(duplicates)
    card = manifest.encoder
    sums = ImportanceSums.zero(len(card.heads), card.head_dim)
    num_chunks = 0
    for receipt in receipts:
        sums = sums + staging.sums(receipt.shard)
        if receipt.shard in duplicates:
            sums = sums - ImportanceSums.of(staging.duplicate_vectors(receipt.shard))
        num_chunks += len(staging.chunk_ids(receipt.shard))
        progress.advance(1)
    _check_collisions(manifest, staging, 1 + num_chunks // IDS_IN_MEMORY)
    left_out = sum(map(len, duplicates.values()))
    if left_out:
        progress.note(f"{left_out} documents left out: an earlier one has their id")
    progress.finish()
    return Staged(
        num_documents - left_out,
        num_chunks,
        sum(receipt.num_dead_letters for receipt in receipts) + left_out,
        sums,
    )


def _duplicates(
    manifest: Manifest, staging: Staging, buckets: int
) -> Mapping[int, list[DeadLetter]]:
    found: dict[int, list[DeadLetter]] = {}
    for bucket in range(buckets):
        first: dict[str, str] = {}
        for shard in manifest.shards:
            for row in staging.documents(shard.index):
                if zlib.crc32(row.id.encode("utf-8", "surrogatepass")) % buckets != bucket:
                    continue
                if row.id in first:
                    letter = duplicate(row.id, row.source, first[row.id], row.fingerprint)
                    found.setdefault(shard.index, []).append(letter)
                else:
                    first[row.id] = row.source
    return dict(sorted(found.items()))


def _check_collisions(manifest: Manifest, staging: Staging, buckets: int) -> None:
    for bucket in range(buckets):
        parts = [staging.chunk_ids(shard.index) for shard in manifest.shards]
        ids = np.concatenate([part[part % buckets == bucket] for part in parts])
        unique, counts = np.unique(ids, return_counts=True)
        if np.any(counts > 1):
            raise StagingError(
                f"{int(np.sum(counts > 1))} chunk ids are shared by two passages, the first "
                f"is {int(unique[counts > 1][0])}",
                "each passage its own id",
                "change one of the documents' ids: 63 bits of hash have met by chance",
            )
