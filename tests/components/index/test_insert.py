"""Insert messages made straight from Arrow say what pymilvus's own say."""

from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict
from pymilvus import DataType
from pymilvus.client.entity_helper import extract_row_data_from_fields_data_v2
from pymilvus.client.prepare import Prepare
from pymilvus.client.types import HybridExtraList

from mrag_pipeline.domain.precision import queries, rounded
from mrag_pipeline.errors import BadVectors
from mrag_pipeline.index.milvus import insert as inserts
from mrag_pipeline.index.milvus import pymilvus_private, rows
from mrag_pipeline.index.milvus.schema import schema
from mrag_pipeline.ports import CollectionSpec
from mrag_pipeline.settings.vectors import VectorType
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, HOSTILE, TEXTS, texts, vectors

HALVES: list[VectorType] = ["float16", "bfloat16"]


def insert_message(name: str, table: pa.Table, dtype: VectorType = "float32") -> Any:
    messages = pymilvus_private.MESSAGES
    assert messages is not None
    return inserts.insert_message(name, table, dtype, messages, True)


def by_pymilvus(
    collection: CollectionSpec, table: pa.Table, dtype: VectorType = "float32"
) -> dict[str, object]:
    fields = [field.to_dict() for field in schema(collection, dtype).fields]
    theirs = rows.of(table)
    if dtype != "float32":
        for row in theirs:
            row["vector"] = native(row["vector"], dtype)
    message = Prepare.row_insert_param(collection.name, theirs, "", fields_info=fields)
    return said(message)


def native(vector: np.ndarray, dtype: VectorType) -> np.ndarray:
    """As pymilvus asks for it: ml_dtypes' bfloat16 where NumPy has none."""
    kind = np.dtype(np.float16) if dtype == "float16" else np.dtype(ml_dtypes.bfloat16)
    return vector.astype(kind)


def said(message: object) -> dict[str, object]:
    told = MessageToDict(message)
    told["fieldsData"] = {field["fieldName"]: field for field in told["fieldsData"]}
    told.pop("hashKeys", None)
    told.pop("schemaTimestamp", None)
    return told


@pytest.mark.parametrize("num_rows", [1, 3, 40, 5_000])
def test_a_heads_rows_are_those_of_pymilvus(num_rows: int) -> None:
    """Ids beyond 2**53 and every bit of the vectors, for lengths of one to three bytes."""
    ids = np.arange(num_rows) + 2**62
    table = table_of(ids, vectors(num_rows))
    message = insert_message(HEAD.name, table)
    assert said(message) == by_pymilvus(HEAD, table)
    [_, field] = message.fields_data
    sent = np.array(field.vectors.float_vector.data, np.float32).reshape(num_rows, 8)
    assert sent.tobytes() == vectors(num_rows).tobytes()


def test_chunks_are_those_of_pymilvus() -> None:
    """Every field, whatever the texts hold; JSON as the same value."""
    metadata = ['{"by": "Zoë 𝄞", "year": 2024}', *["{}"] * (len(HOSTILE) - 1)]
    table = rows.with_proofs(texts(HOSTILE, text=HOSTILE, title=HOSTILE, metadata=metadata), True)
    ours, theirs = said(insert_message(TEXTS.name, table)), by_pymilvus(TEXTS, table)
    mine = ours["fieldsData"].pop("metadata")  # type: ignore[attr-defined]
    other = theirs["fieldsData"].pop("metadata")  # type: ignore[attr-defined]
    assert ours == theirs
    assert mine["type"] == other["type"] == "JSON"
    assert len(mine["scalars"]["jsonData"]["data"]) == len(HOSTILE)


def test_a_slice_of_a_table_is_only_its_rows() -> None:
    """Arrow's slices share their buffers with the rest of the table."""
    table = table_of(range(100), vectors(100)).slice(30, 5)
    message = insert_message(HEAD.name, table)
    assert message.num_rows == 5
    assert list(message.fields_data[0].scalars.long_data.data) == [30, 31, 32, 33, 34]
    sent = list(message.fields_data[1].vectors.float_vector.data)
    np.testing.assert_array_equal(np.array(sent, np.float32), vectors(100)[30:35].ravel())
    assert message.fields_data[1].type == DataType.FLOAT_VECTOR


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("num_rows", [1, 40])
def test_vectors_of_16_bits_are_those_of_pymilvus(dtype: VectorType, num_rows: int) -> None:
    """As pymilvus packs NumPy's float16 and ml_dtypes' bfloat16: by message and by rows."""
    table = table_of(range(num_rows), rounded(vectors(num_rows), dtype))
    theirs = by_pymilvus(HEAD, table, dtype)
    assert said(insert_message(HEAD.name, table, dtype)) == theirs
    fields = [field.to_dict() for field in schema(HEAD, dtype).fields]
    mine = Prepare.row_insert_param(HEAD.name, rows.of(table, dtype), "", fields_info=fields)
    assert said(mine) == theirs


@pytest.mark.parametrize("dtype", HALVES)
def test_queries_of_16_bits_are_those_of_pymilvus(dtype: VectorType) -> None:
    """The placeholder that pymilvus makes of arrays of that type."""
    asked = queries(vectors(3) * 1e6, dtype)
    fields = [field.to_dict() for field in schema(HEAD, dtype).fields]

    def request(data: list[object]) -> object:
        return Prepare.search_requests_with_expr(
            HEAD.name, "vector", {}, 10, data=data, schema={"fields": fields}
        ).placeholder_group

    assert request(rows.sent(asked, dtype)) == request([native(one, dtype) for one in asked])


@pytest.mark.parametrize("dtype", HALVES)
def test_answers_of_16_bits_are_read_as_pymilvus_gives_them(dtype: VectorType) -> None:
    """The field of a server's answer, by pymilvus's own reader."""
    kept = rounded(vectors(3), dtype)
    message = insert_message(HEAD.name, table_of(range(3), kept), dtype)
    template = [{"chunk_id": None, "vector": None} for _ in range(3)]
    late = [f for f in message.fields_data if extract_row_data_from_fields_data_v2(f, template)]
    answer = HybridExtraList(late, template, extra={}, dynamic_fields=[])
    found = [rows.answered(answer[at]["vector"], dtype) for at in range(3)]
    np.testing.assert_array_equal(found, kept)


@pytest.mark.parametrize("dtype", HALVES)
def test_numbers_that_16_bits_cannot_hold_are_refused(dtype: VectorType) -> None:
    """Vectors that were staged as float32: a row read back would not be the one summed."""
    table = table_of(range(3), vectors(3))
    for send in (lambda: insert_message(HEAD.name, table, dtype), lambda: rows.of(table, dtype)):
        with pytest.raises(BadVectors, match="3 of 3"):
            send()


def test_a_key_of_metadata_is_not_escaped() -> None:
    """A server compares the bytes of keys; what has to be escaped in JSON stays so."""
    metadata = {"ünï 𝄞": "\x01 ä", "plain": "\\u00fc"}
    table = texts(["a"], metadata=[json.dumps(metadata)])
    message = insert_message(TEXTS.name, table)
    [field] = [one for one in message.fields_data if one.field_name == "metadata"]
    [content] = field.scalars.json_data.data
    assert '"ünï 𝄞"'.encode() in content
    assert json.loads(content) == metadata
