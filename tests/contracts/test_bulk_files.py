"""What every BulkFiles promises; run by the fake, a folder and real S3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrag_pipeline.errors import BadVectors
from mrag_pipeline.ports import BulkFiles
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.bulk_files import BulkFolder
from tests.support.fake_bulk_files import FakeBulkFiles
from tests.support.fake_staging import table_of

# The port, and how a server would read a file of it: None if no file has that name.
Opened = tuple[BulkFiles, Callable[[str], pa.Table | None]]


@pytest.fixture(params=["fake", "folder", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """No file written yet; the real ones write several files for a few hundred rows."""
    if request.param == "fake":
        fake = FakeBulkFiles()
        return fake, fake.files.get
    if request.param == "folder":
        folder = BulkFolder(str(tmp_path), file_bytes=4_000)
        return folder, lambda name: pq.read_table(name) if Path(name).exists() else None
    bucket = request.getfixturevalue("bucket")
    stored = BulkFolder(f"s3://{bucket}/bulk", file_bytes=4_000)

    def read(name: str) -> pa.Table | None:
        # A server knows its bucket, so files are named by their key within it.
        content = Folder(f"s3://{bucket}").read(name)
        return None if content is None else pq.read_table(pa.BufferReader(content))

    return stored, read


def some_tables(sizes: Sequence[int]) -> list[pa.Table]:
    random = np.random.default_rng(0)
    starts = np.cumsum([0, *sizes])
    return [
        table_of(range(start, start + size), random.normal(size=(size, 8)))
        for start, size in zip(starts.tolist(), sizes, strict=False)
    ]


def test_every_row_is_written_once_in_order(opened: Opened) -> None:
    """Empty tables give no empty file; each file says how many rows it has."""
    files, read = opened
    given = some_tables([100, 0, 300, 1])
    written = list(files.write("docs_h00", given))
    tables = [read(file.name) for file in written]
    assert all(tables)
    assert [table.num_rows for table in tables if table] == [file.num_rows for file in written]
    assert pa.concat_tables([table for table in tables if table]).equals(pa.concat_tables(given))
    assert min(file.num_rows for file in written) > 0


def test_no_rows_give_no_file(opened: Opened) -> None:
    """An empty collection has nothing to import."""
    files, _ = opened
    assert list(files.write("docs_h00", [])) == []
    assert list(files.write("docs_h00", some_tables([0]))) == []


def test_files_are_written_when_they_are_asked_for(opened: Opened) -> None:
    """A file can be imported while the next tables are still to come."""
    files, read = opened
    taken = []

    def tables() -> object:
        for number, table in enumerate(some_tables([300, 300, 300])):
            taken.append(number)
            yield table

    first = next(iter(files.write("docs_h00", tables())))  # type: ignore[arg-type]
    assert read(first.name) is not None
    assert len(taken) < 3


def test_a_name_is_never_used_twice(opened: Opened) -> None:
    """A server may still read the files of a run that died."""
    files, _ = opened
    names = [file.name for _ in range(2) for file in files.write("c", some_tables([10, 10]))]
    assert len(set(names)) == len(names)


def test_removing_takes_one_collections_files(opened: Opened) -> None:
    """Those of every write, and no other collection's; a second time does nothing."""
    files, read = opened
    gone = [file.name for _ in range(2) for file in files.write("a_h01", some_tables([10]))]
    [stays] = files.write("a_h010", some_tables([10]))
    files.remove("a_h01")
    files.remove("a_h01")
    assert [read(name) for name in gone] == [None, None]
    assert read(stays.name) is not None


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_vectors_that_an_import_would_not_check_are_refused(opened: Opened, bad: float) -> None:
    """NaN, infinite and zero vectors."""
    files, _ = opened
    vectors = np.ones((3, 8), np.float32)
    vectors[1] = bad
    with pytest.raises(BadVectors):
        list(files.write("docs_h00", [table_of(range(3), vectors)]))
