"""Rows of a living index overwritten, as a fault of the store or of a writer would."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import CollectionSpec, VectorIndex
from mrag_pipeline.staging.tables import CHUNKS
from tests.support.fake_staging import table_of

_FIELDS = ("document_id", "ordinal", "start", "end", "title", "text", "fingerprint")


def chunk_ids(index: VectorIndex, record: VersionRecord) -> list[int]:
    """All chunks of the version, rising."""
    return sorted(int(i) for block in index.ids(record.chunks_collection()) for i in block)


def change_chunk(index: VectorIndex, record: VersionRecord, row_id: int, **values: object) -> None:
    """Overwrites these columns of a chunks row, as they are staged; the others stay."""
    name = record.chunks_collection()
    row = index.chunks(name, [row_id])[row_id]
    columns = {field: getattr(row, field) for field in _FIELDS} | {
        "chunk_id": row_id,
        "metadata": json.dumps(dict(row.metadata)),
        "vector": index.vectors(name, [row_id])[row_id].tolist(),
        "proof": index.proofs(name, [row_id])[row_id],
    }
    schema = CHUNKS.append(pa.field("proof", pa.string()))
    table = pa.Table.from_pylist([columns | values], schema)
    index.upsert(CollectionSpec(name, "chunks", record.encoder.standard_dim), table)


def head_spec(record: VersionRecord, head: int = 1) -> CollectionSpec:
    """A head's collection."""
    return CollectionSpec(record.head_collections()[head], "head", record.encoder.head_dim)


def exchange_vectors(
    index: VectorIndex, record: VersionRecord, row_ids: Sequence[int], head: int = 1
) -> None:
    """Gives each of two chunks the other's vector of one head."""
    spec = head_spec(record, head)
    vectors = index.vectors(spec.name, row_ids)
    index.upsert(spec, table_of(row_ids, np.array([vectors[i] for i in row_ids[::-1]])))


def negate_number(
    index: VectorIndex, record: VersionRecord, row_id: int, head: int = 1, at: int = 0
) -> None:
    """Flips one bit of one head's vector: a number's sign."""
    spec = head_spec(record, head)
    vector = index.vectors(spec.name, [row_id])[row_id].copy()
    vector[at] = -vector[at]
    index.upsert(spec, table_of([row_id], vector[None]))


def change_record(index: VectorIndex, version: str, what: str = "text") -> None:
    """Damages what Milvus keeps of a version's record.

    Args:
        what: "text": a piece of its text; "pointer": the row that says which pieces; "piece": a
            piece is lost.
    """
    parts = index._records._parts  # type: ignore[attr-defined]
    piece = parts.names(f"{version}/")[0]
    if what == "piece":
        parts.remove([piece])
        return
    name = piece if what == "text" else version
    payload = parts.payloads([name])[name]
    middle = len(payload) // 3  # of the text, or of the pointer's digest
    other = "1" if payload[middle] != "1" else "2"
    parts.put(name, payload[:middle] + other + payload[middle + 1 :])
