"""Inserts Arrow tables as Milvus's own messages: a hundredth of the cost of rows as dicts.

Protocol buffers and Arrow store a packed list of floats alike: the numbers' bytes, one after the
other. pymilvus takes a finished message, and sends it with its own retries; where it has lost the
private call for that, its public client takes the rows. Vectors of 16 bits travel as bytes.
Shape legend: N rows, D dimension.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient

from mrag_pipeline.domain.precision import pack
from mrag_pipeline.index.milvus import pymilvus_private, rows
from mrag_pipeline.index.milvus.pymilvus_private import Messages
from mrag_pipeline.index.milvus.schema import VECTOR_TYPES
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.settings.vectors import VectorType

if TYPE_CHECKING:
    import pyarrow as pa

_TYPES = {
    "chunk_id": (DataType.INT64, "long_data"),
    "document_id": (DataType.VARCHAR, "string_data"),
    "ordinal": (DataType.INT32, "int_data"),
    "start": (DataType.INT64, "long_data"),
    "end": (DataType.INT64, "long_data"),
    "title": (DataType.VARCHAR, "string_data"),
    "text": (DataType.VARCHAR, "string_data"),
    "metadata": (DataType.JSON, "json_data"),
    "fingerprint": (DataType.VARCHAR, "string_data"),
}
_PACKED = b"\x0a"  # field 1, length-delimited: FloatArray's and LongArray's `data`


def insert_message(collection: str, table: pa.Table, dtype: VectorType, messages: Messages) -> Any:
    """The table's N rows, for a collection with vectors of that type; not checked for NaN.

    Raises: BadVectors for a number that the type does not have.
    """
    message = messages.milvus.InsertRequest(collection_name=collection, num_rows=table.num_rows)
    for name in table.column_names:
        if name == "vector":
            vectors = vector_matrix(table.column(name))
            field = message.fields_data.add(field_name=name, type=VECTOR_TYPES[dtype])
            field.vectors.dim = vectors.shape[1]
            if dtype == "float32":
                _set_floats(field.vectors.float_vector, vectors.astype("<f4", copy=False))
            else:
                bits = pack(vectors.astype(np.float32, copy=False), dtype)
                setattr(field.vectors, f"{dtype}_vector", bits.tobytes())
            continue
        kind, part = _TYPES[name]
        field = message.fields_data.add(field_name=name, type=kind)
        values: Sequence[Any] = table.column(name).to_pylist()
        if name == "metadata":
            values = [_unescaped(text).encode() for text in values]
        getattr(field.scalars, part).data.extend(values)
    return message


def insert(
    client: MilvusClient,
    collection: str,
    table: pa.Table,
    timeout_s: float,
    dtype: VectorType = "float32",
) -> None:
    """Sends the table's rows; retried by pymilvus until the timeout."""
    messages = pymilvus_private.MESSAGES
    # MilvusClient.insert takes rows as dicts only; the call that it wraps takes messages too.
    send = getattr(pymilvus_private.handler_of(client), "batch_insert", None)
    if messages is None or send is None:
        client.insert(collection, rows.of(table, dtype), timeout=timeout_s)
        return
    send(
        collection,
        [],
        schema={"fields": []},
        insert_param=insert_message(collection, table, dtype, messages),
        timeout=timeout_s,
        context=pymilvus_private.call_context_of(client),
    )


def _unescaped(text: str) -> str:
    """The same JSON with its letters written out: a server finds no key that is escaped."""
    if "\\u" not in text:
        return text
    return json.dumps(json.loads(text), ensure_ascii=False)


def _set_floats(numbers: Any, values: NDArray[np.float32]) -> None:
    raw = values.tobytes()
    numbers.ParseFromString(_PACKED + _varint(len(raw)) + raw)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
