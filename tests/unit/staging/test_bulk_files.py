"""Files for a server's bulk import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrag_pipeline.errors import BadVectors
from mrag_pipeline.staging.bulk_files import BulkFolder
from mrag_pipeline.staging.tables import lists
from tests.support.fake_staging import table_of
from tests.support.index_rows import texts, vectors


def test_rows_come_out_as_they_went_in(tmp_path: Path) -> None:
    """Every row once, in order, in files that are no larger than asked for, uncompressed."""
    rows = vectors(1_000)
    given = [table_of(range(at, at + 100), rows[at : at + 100]) for at in range(0, 1_000, 100)]
    folder = BulkFolder(str(tmp_path), file_bytes=12_000)
    files = list(folder.write("docs_h00", [*given[:5], given[0].slice(0, 0), *given[5:]]))
    assert len(files) > 3
    read = [pq.read_table(file.name) for file in files]
    assert [table.num_rows for table in read] == [file.num_rows for file in files]
    assert pa.concat_tables(read).equals(pa.concat_tables(given))
    assert all(table.nbytes <= 12_000 for table in read)
    assert pq.ParquetFile(files[0].name).metadata.row_group(0).column(0).compression == (
        "UNCOMPRESSED"
    )
    assert read[0].schema.field("vector").type == pa.list_(pa.float32())


def test_one_table_larger_than_a_file_is_cut(tmp_path: Path) -> None:
    """A shard is one table, whatever its size."""
    files = list(BulkFolder(str(tmp_path), file_bytes=4_000).write("c", [texts(["a"] * 300)]))
    assert len(files) > 3
    assert sum(file.num_rows for file in files) == 300


def test_the_server_may_name_the_place_otherwise(tmp_path: Path) -> None:
    """A mount inside its container, or a key within a bucket."""
    folder = BulkFolder(str(tmp_path), "/mnt/bulk/")
    [file] = folder.write("docs_h00", [table_of([1], vectors(1))])
    assert file.name.startswith("/mnt/bulk/docs_h00/")
    assert (tmp_path / file.name.removeprefix("/mnt/bulk/")).is_file()


def test_no_two_loads_write_the_same_file(tmp_path: Path) -> None:
    """What a dead run's import still reads is not written over; removing takes them all."""
    folder = BulkFolder(str(tmp_path))
    names = {f.name for _ in range(2) for f in folder.write("c", [table_of([1], vectors(1))])}
    assert len(names) == 2
    folder.remove("c")
    folder.remove("c")
    assert not any(Path(name).exists() for name in names)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_what_an_import_would_not_check_is_refused(tmp_path: Path, bad: float) -> None:
    """NaN, infinite and zero vectors; nothing of their file is written."""
    rows = vectors(5)
    rows[3] = bad
    table = pa.table({"chunk_id": list(range(5)), "vector": lists(rows)})
    with pytest.raises(BadVectors, match="1 of 5 vectors for docs_h00"):
        list(BulkFolder(str(tmp_path)).write("docs_h00", [table]))
    assert not list(tmp_path.rglob("*.parquet"))
