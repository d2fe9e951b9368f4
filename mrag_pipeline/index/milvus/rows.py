"""Converts Arrow tables to Milvus's rows, and its rows to ours.

Shape legend: N rows, D dimension.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.precision import pack, unpack
from mrag_pipeline.domain.proofs import PROOF, UNPROVEN
from mrag_pipeline.ports import ChunkRow
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.settings.vectors import VectorType

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_BYTES = 16 * 1024 * 1024  # a server takes messages of 64 MB by default


def batches(table: pa.Table, max_rows: int) -> Iterator[pa.Table]:
    """The table in pieces that fit one insert call, in order; no piece is empty."""
    for start in range(0, table.num_rows, max_rows):
        yield from _halved(table.slice(start, max_rows))


def with_proofs(table: pa.Table, is_wanted: bool) -> pa.Table:
    """A chunks table with a column of proofs, or without one if the collection has no field."""
    if PROOF in table.column_names:
        return table if is_wanted else table.drop_columns([PROOF])
    if not is_wanted or not table.num_rows:
        return table
    return table.append_column(PROOF, [[UNPROVEN] * table.num_rows])


def of(table: pa.Table, dtype: VectorType = "float32") -> list[dict[str, Any]]:
    """The table as rows for pymilvus; vectors are views of one array, half the cost of lists.

    Raises: BadVectors for a number that the vectors' type cannot hold.
    """
    if not table.num_rows:
        return []
    columns = {
        name: table.column(name).to_pylist() for name in table.column_names if name != "vector"
    }
    if "metadata" in columns:
        columns["metadata"] = [json.loads(text) for text in columns["metadata"]]
    columns["vector"] = sent(vector_matrix(table.column("vector")), dtype)
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def sent(vectors: NDArray[np.float32], dtype: VectorType) -> list[Any]:
    """N vectors as pymilvus takes them: float32 arrays, or the bytes of 16-bit numbers."""
    if dtype == "float32":
        return list(vectors)
    return [row.tobytes() for row in pack(vectors, dtype)]


def answered(vector: Any, dtype: VectorType) -> NDArray[np.float32]:
    """The vector (D,) of a row that Milvus returned."""
    if dtype == "float32":
        return np.asarray(vector, dtype=np.float32)
    [content] = vector  # pymilvus puts bytes into a list
    return unpack(np.frombuffer(content, dtype="<u2"), dtype)


@dataclass(frozen=True, slots=True)
class FilterFields:
    """The fields that a filter reads."""

    document_id: str
    title: str
    metadata: Mapping[str, Any]


def filtered(row: Mapping[str, Any]) -> FilterFields:
    """The filter's fields of a row that Milvus returned."""
    return FilterFields(row["document_id"], row["title"], row["metadata"])


def chunk(row: Mapping[str, Any]) -> ChunkRow:
    """The chunk of a row that Milvus returned."""
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
