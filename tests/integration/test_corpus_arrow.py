"""Arrow IPC as a corpus: what other programs save, and what is broken."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from mrag_pipeline.domain.documents import DeadLetter, Document
from tests.support.corpus_files import only, read, written
from tests.support.lazy_library import LazyLibrary

polars = LazyLibrary("polars")
datasets = LazyLibrary("datasets")

ROWS = [{"id": f"d{n}", "text": f"Text number {n}.", "year": 2000 + n} for n in range(10)]


def ipc(batch_rows: int = 4, table: pa.Table | None = None) -> bytes:
    """A file of several batches."""
    table = pa.Table.from_pylist(ROWS) if table is None else table
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return sink.getvalue().to_pybytes()


def test_a_saved_data_set_is_a_corpus(tmp_path: Path) -> None:
    """`save_to_disk` writes streams named .arrow, beside JSON that is not the corpus's."""
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "set")
    items = read(tmp_path / "set" / "*.arrow")
    assert [(i.id, i.metadata["year"]) for i in items if isinstance(i, Document)] == [
        (row["id"], row["year"]) for row in ROWS
    ]


def test_a_data_frame_saved_by_polars_is_a_corpus(tmp_path: Path) -> None:
    """Its strings are of Arrow's view types."""
    polars.DataFrame(ROWS).write_ipc(tmp_path / "a.arrow", compression="zstd")
    assert [i.text for i in read(tmp_path) if isinstance(i, Document)] == [r["text"] for r in ROWS]


def test_a_row_knows_its_place(tmp_path: Path) -> None:
    """Batch and row, from 1."""
    items = read(written(tmp_path / "a.feather", ipc()))
    assert isinstance(items[5], Document)
    assert items[5].source == "a.feather:2.2"


def test_bytes_and_embeddings_are_left_out_with_a_remark(tmp_path: Path) -> None:
    """As of Parquet; a short list is metadata."""
    rows = [{**row, "image": b"\xff", "vector": [0.5] * 900, "tags": ["a"]} for row in ROWS]
    document = read(written(tmp_path / "a.arrow", ipc(table=pa.Table.from_pylist(rows))))[0]
    assert isinstance(document, Document)
    assert dict(document.metadata) == {"year": 2000, "tags": ["a"]}
    assert sorted(document.remarks) == [
        "metadata 'image': bytes: left out",
        "metadata 'vector': more than 4,000 bytes a row: left out",
    ]


BROKEN = {
    "cut": (ipc()[:-200], ""),
    "feather 1": (b"FEA1" + bytes(100), "Feather version 1"),
    "nothing": (b"", ""),
    "other": (b"{}" * 200, ""),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_a_dead_letter(tmp_path: Path, kind: str) -> None:
    """With its reason; the file beside it is read."""
    data, reason = BROKEN[kind]
    written(tmp_path / "a.arrow", data)
    written(tmp_path / "b.arrow", ipc())
    items = read(tmp_path)
    [dead] = [item for item in items if isinstance(item, DeadLetter)]
    assert reason in dead.reason
    assert len(items) == 1 + len(ROWS)


def test_offsets_that_lead_outside_their_batch_cost_that_batch(tmp_path: Path) -> None:
    """Arrow reads what they point to unless asked to look at them first."""
    data = bytearray(ipc(batch_rows=5))
    text = data.index(b"Text number 0.")
    offsets = data.rindex((56).to_bytes(4, "little"), 0, text)  # the end of the fourth text
    data[offsets : offsets + 4] = (1 << 30).to_bytes(4, "little")
    items = read(written(tmp_path / "a.arrow", bytes(data)))
    [dead] = [item for item in items if isinstance(item, DeadLetter)]
    assert dead.reason.startswith("batch 1 cannot be read")
    assert dead.num_documents == 5
    assert len(items) == 6


def test_an_empty_file_has_no_documents(tmp_path: Path) -> None:
    """Beside one with a row."""
    written(tmp_path / "a.arrow", ipc(table=pa.Table.from_pylist(ROWS).slice(0, 0)))
    written(tmp_path / "b.arrow", ipc(table=pa.Table.from_pylist(ROWS[:1])))
    assert isinstance(only(read(tmp_path)), Document)
