"""Arrow tables to Milvus's rows, and back.

Shape legend: N rows, D dimension.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mrag_pipeline.ports import ChunkRow

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_BYTES = 16 * 1024 * 1024  # a server takes messages of 64 MB by default


def batches(table: pa.Table, max_rows: int) -> Iterator[pa.Table]:
    """The table in pieces that fit an insert call, in order, none empty."""
    for start in range(0, table.num_rows, max_rows):
        yield from _halved(table.slice(start, max_rows))


def of(table: pa.Table) -> list[dict[str, Any]]:
    """Milvus's rows; vectors stay views of one array, which is half the cost of lists."""
    if not table.num_rows:
        return []
    vectors = table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    columns = {
        name: table.column(name).to_pylist() for name in table.column_names if name != "vector"
    }
    if "metadata" in columns:
        columns["metadata"] = [json.loads(text) for text in columns["metadata"]]
    columns["vector"] = list(vectors.reshape(table.num_rows, -1))
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@dataclass(frozen=True, slots=True)
class Filtered:
    """What a filter reads of a row that Milvus answers."""

    document_id: str
    title: str
    metadata: Mapping[str, Any]


def filtered(row: Mapping[str, Any]) -> Filtered:
    """What a filter reads."""
    return Filtered(row["document_id"], row["title"], row["metadata"])


def chunk(row: Mapping[str, Any]) -> ChunkRow:
    """A chunk from the row that Milvus answers."""
    return ChunkRow(
        id=int(row["chunk_id"]),
        document_id=row["document_id"],
        ordinal=int(row["ordinal"]),
        start=int(row["start"]),
        end=int(row["end"]),
        title=row["title"],
        text=row["text"],
        metadata=row["metadata"],
        fingerprint=row["fingerprint"],
    )


def _halved(table: pa.Table) -> Iterator[pa.Table]:
    if table.num_rows > 1 and table.nbytes > _BATCH_BYTES:
        middle = table.num_rows // 2
        yield from _halved(table.slice(0, middle))
        yield from _halved(table.slice(middle))
    else:
        yield table
