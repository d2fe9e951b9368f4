"""Inserts Arrow tables as Milvus's own messages, at a hundredth of the cost of rows as dicts.

Protocol buffers and Arrow both store a packed list of floats as the numbers' bytes in sequence.
pymilvus accepts a finished message and sends it with its own retries. If a release of pymilvus
lacks that private call, its public client gets the rows. 16-bit vectors are sent as bytes.
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
from mrag_pipeline.domain.proofs import PROOF
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
    PROOF: (DataType.VARCHAR, "string_data"),
}
_PACKED = b"\x0a"  # field 1, length-delimited: FloatArray's and LongArray's `data`


def insert_message(
    collection: str,
    table: pa.Table,
    dtype: VectorType,
    messages: Messages,
    has_defaults: bool,
    partition: str = "",
) -> Any:
    """The insert request of the table's N rows; `dtype` is the collection's, NaN is not checked.

    Args:
        has_defaults: whether the field of proofs has a default value: then a server wants to
            know of each row that it has a value of its own.
        partition: of the collection; empty: its own.
    Raises: BadVectors for a number that the type cannot hold.
    """
    message = messages.milvus.InsertRequest(
        collection_name=collection, partition_name=partition, num_rows=table.num_rows
    )
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
        data_type, list_name = _TYPES[name]
        field = message.fields_data.add(field_name=name, type=data_type)
        values: Sequence[Any] = table.column(name).to_pylist()
        if name == "metadata":
            values = [_unescaped(text).encode() for text in values]
        getattr(field.scalars, list_name).data.extend(values)
        if name == PROOF and has_defaults:
            field.valid_data.extend([True] * table.num_rows)
    return message


def insert(
    client: MilvusClient,
    collection: str,
    table: pa.Table,
    timeout_s: float,
    dtype: VectorType = "float32",
    has_defaults: bool = True,
    partition: str = "",
) -> None:
    """Sends the table's rows; pymilvus retries until the timeout."""
    messages = pymilvus_private.MESSAGES
    # MilvusClient.insert takes dicts only; the call that it wraps also takes messages.
    send = getattr(pymilvus_private.handler_of(client), "batch_insert", None)
    if messages is None or send is None:
        client.insert(
            collection, rows.of(table, dtype), timeout=timeout_s, partition_name=partition
        )
        return
    send(
        collection,
        [],
        schema={"fields": []},
        insert_param=insert_message(collection, table, dtype, messages, has_defaults, partition),
        timeout=timeout_s,
        context=pymilvus_private.call_context_of(client),
    )


def _unescaped(text: str) -> str:
    """The same JSON without escaped characters: a server does not find an escaped key."""
    if "\\u" not in text:
        return text
    return json.dumps(json.loads(text), ensure_ascii=False)


def _set_floats(numbers: Any, values: NDArray[np.float32]) -> None:
    raw = values.tobytes()
    numbers.ParseFromString(_PACKED + _varint(len(raw)) + raw)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])
