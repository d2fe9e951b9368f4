"""Rows of an index and of staging as chunks, and what a version's rows have to agree with.

Shape legend: H heads.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import ChunkRow, CollectionSpec
from mrag_pipeline.stages.ingest.load_items import TEXT_BYTES

if TYPE_CHECKING:
    import pyarrow as pa

RELATIVE_TOLERANCE = 1e-9  # of sums that were added in another order
BLOCK_ROWS = 4_000  # chunks read at a time


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


def row_bytes(record: VersionRecord) -> int:
    """Of a chunk, in all collections; roughly."""
    card = record.encoder
    return 4 * (len(card.heads) * card.head_dim + card.standard_dim) + TEXT_BYTES


def words_of_version(record: VersionRecord) -> CollectionSpec:
    """The lexical collection of a version that has one."""
    return CollectionSpec(str(record.lexical_collection()), "lexical", 0, record.lexical)


def matching_heads(recorded: ImportanceSums, counted: list[ImportanceSums]) -> NDArray[np.bool_]:
    """(H,): for which heads the recorded sums are those of the stored vectors.

    Args:
        counted: each head's own, of its usable vectors.
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
