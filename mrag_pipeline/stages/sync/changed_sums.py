"""What a sync adds to a version, and the importance sums of what it removes.

Shape legend: N chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.ports import DeltaStaging, Rows
from mrag_pipeline.stages.staged_receipts import every_receipt

_BLOCK_ROWS = 2_000  # vectors of all heads read at a time: 3 MB for 384 numbers


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """What the sync's shards add, without the documents that are left out."""

    ids: NDArray[np.int64]  # (N,)
    sums: ImportanceSums
    documents: int
    dead_letters: int  # those left out counted

    @classmethod
    def of(cls, manifest: Manifest, staging: DeltaStaging, record: VersionRecord) -> Added:
        """Of all shards of the sync.

        Raises: StagingError if one is not staged.
        """
        card = record.encoder
        sums = ImportanceSums.zero(len(card.heads), card.head_dim)
        ids = [np.zeros(0, np.int64)]
        documents = dead_letters = 0
        duplicates = staging.duplicates() or {}
        for receipt in every_receipt(manifest, staging):
            sums = sums + staging.sums(receipt.shard)
            left_out = duplicates.get(receipt.shard, ())
            if left_out:
                sums = sums - ImportanceSums.of(staging.duplicate_vectors(receipt.shard))
            ids.append(staging.chunk_ids(receipt.shard))
            documents += receipt.num_documents - len(left_out)
            dead_letters += receipt.num_dead_letters + len(left_out)
        return cls(np.concatenate(ids), sums, documents, dead_letters)


def sums_in_index(record: VersionRecord, index: Rows, ids: Sequence[int]) -> ImportanceSums:
    """The sums over these rows of the index, as they are now.

    Raises: VerifyFailed if a head lacks one.
    """
    card = record.encoder
    sums = ImportanceSums.zero(len(card.heads), card.head_dim)
    for start in range(0, len(ids), _BLOCK_ROWS):
        block = ids[start : start + _BLOCK_ROWS]
        vectors = np.empty((len(block), len(card.heads), card.head_dim), np.float32)
        for head, collection in enumerate(record.head_collections()):
            by_id = index.vectors(collection, block)
            num_missing = len(set(block)) - len(by_id)
            if num_missing:
                raise VerifyFailed(
                    f"{collection} lacks {num_missing} of the rows to be removed",
                    "every chunk in every head",
                    "run `mrag audit`, then `mrag repair`",
                )
            vectors[:, head] = [by_id[chunk_id] for chunk_id in block]
        sums = sums + ImportanceSums.of(vectors)
    return sums
