"""What an index holds, read back in blocks: ids, importance sums, vectors that cannot be used.

Memory: a block of rows.
Shape legend: N chunks, H heads, D dimension.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import ChunkRow, CollectionSpec, ReadableVersion, Rows
from mrag_pipeline.stages.sorted_ids import SortedIds

if TYPE_CHECKING:
    import pyarrow as pa

RELATIVE_TOLERANCE = 1e-9  # of sums that were added in another order
BLOCK_ROWS = 4_000  # chunks read at a time


def ids_twice(index: Rows, collection: str) -> NDArray[np.int64]:
    """Of the collection's rows, the ids that more than one has; rising."""
    with closing(SortedIds(index.ids(collection))) as ids:
        return ids.twice


def sums_in(index: Rows, collection: str, ids: SortedIds, dim: int) -> ImportanceSums:
    """The sums of a collection's usable vectors (one head), of these chunks."""
    sums = ImportanceSums.zero(1, dim)
    for block in ids.blocks(BLOCK_ROWS):
        by_id = index.vectors(collection, block.ids().tolist())
        if not by_id:
            continue
        vectors = np.array(list(by_id.values()), np.float32)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        usable = np.isfinite(norms) & (norms > 0)
        sums = sums + ImportanceSums.of(vectors[usable][:, None, :])
    return sums


def chunk_of(row: ChunkRow) -> Chunk:
    """The chunk that a stored row holds."""
    return Chunk(
        row.id,
        row.document_id,
        row.ordinal,
        row.start,
        row.end,
        row.text,
        row.title,
        row.metadata,
        row.fingerprint,
    )


def staged_chunks(table: pa.Table) -> list[Chunk]:
    """The chunks of a staged table, as `Staging.chunks` gives it."""
    return [
        Chunk(
            row["chunk_id"],
            row["document_id"],
            row["ordinal"],
            row["start"],
            row["end"],
            row["text"],
            row["title"],
            json.loads(row["metadata"]),
            row["fingerprint"],
        )
        for row in table.drop_columns(["vector"]).to_pylist()
    ]


def words_of_version(record: VersionRecord) -> CollectionSpec:
    """The lexical collection of a version that has one."""
    return CollectionSpec(str(record.lexical_collection()), "lexical", 0, record.lexical)


def stale_words(
    index: ReadableVersion, words: CollectionSpec, record: VersionRecord, ids: SortedIds
) -> Iterator[list[ChunkRow]]:
    """The chunks rows of these ids whose words are missing or other ones, in blocks."""
    for block in ids.blocks(BLOCK_ROWS):
        rows = index.chunks(record.chunks_collection(), block.ids().tolist())
        stale = index.stale_words(words, list(rows.values()))
        if stale:
            yield [rows[chunk_id] for chunk_id in stale]


def matching_heads(recorded: ImportanceSums, counted: list[ImportanceSums]) -> NDArray[np.bool_]:
    """(H,): for which heads the recorded sums are those of the stored vectors.

    Args:
        counted: each head's own, as `sums_in` gives them.
    """
    # |sum of units| is at most N, and that is the scale on which units are added and subtracted.
    absolute = RELATIVE_TOLERANCE * max(1, recorded.num_chunks)
    return np.array(
        [
            sums.num_chunks == recorded.num_chunks
            and np.allclose(
                sums.norm_sum[0], recorded.norm_sum[head], rtol=RELATIVE_TOLERANCE, atol=0
            )
            and np.allclose(
                sums.unit_sum[0], recorded.unit_sum[head], rtol=RELATIVE_TOLERANCE, atol=absolute
            )
            for head, sums in enumerate(counted)
        ],
        bool,
    )
