"""Insert messages made straight from Arrow say what pymilvus's own say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict
from pymilvus import DataType
from pymilvus.client.prepare import Prepare

from mrag_pipeline.index import rows
from mrag_pipeline.index.messages import insert_message
from mrag_pipeline.index.schema import schema
from mrag_pipeline.ports import CollectionSpec
from tests.contracts.test_vector_index import HEAD, HOSTILE, TEXTS, texts, vectors
from tests.fakes_staging import table_of


def by_pymilvus(collection: CollectionSpec, table: pa.Table) -> dict[str, object]:
    fields = [field.to_dict() for field in schema(collection).fields]
    message = Prepare.row_insert_param(collection.name, rows.of(table), "", fields_info=fields)
    return said(message)


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
    table = texts(HOSTILE, text=HOSTILE, title=HOSTILE, metadata=metadata)
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
