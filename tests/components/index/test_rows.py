"""Tables cut into insert calls, and rows as Milvus takes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.index.milvus import rows
from tests.support.fake_staging import table_of
from tests.support.index_rows import texts, vectors


@given(num_rows=st.integers(0, 40), max_rows=st.integers(1, 10))
def test_every_row_is_in_one_batch_in_order(num_rows: int, max_rows: int) -> None:
    """No batch is empty or larger than asked for, and together they are the table."""
    cut = list(rows.batches(table_of(range(num_rows), vectors(num_rows)), max_rows))
    assert all(1 <= batch.num_rows <= max_rows for batch in cut)
    ids = [i for batch in cut for i in batch["chunk_id"].to_pylist()]
    assert ids == list(range(num_rows))


def test_long_texts_make_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch over the byte limit is halved until it fits; one row alone always goes."""
    monkeypatch.setattr(rows, "_BATCH_BYTES", 30_000)
    table = texts(["a"] * 8, text=["x" * 10_000] * 7 + ["x" * 50_000])
    assert [batch.num_rows for batch in rows.batches(table, 100)] == [2, 2, 2, 1, 1]


def test_rows_of_a_slice_are_the_slices() -> None:
    """A slice of a table gives its own vectors, not those the buffer starts with."""
    values = vectors(6)
    [batch] = list(rows.batches(table_of(range(6), values).slice(4), 10))
    found = rows.of(batch)
    assert [row["chunk_id"] for row in found] == [4, 5]
    np.testing.assert_array_equal(found[1]["vector"], values[5])
    assert found[0]["vector"].dtype == np.float32


def test_metadata_goes_in_as_an_object() -> None:
    """A string would be stored as a string and could not be filtered on."""
    [row] = rows.of(texts(["a"], metadata=['{"year": 2024}']))
    assert row["metadata"] == {"year": 2024}
