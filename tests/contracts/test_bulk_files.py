"""What every BulkFiles promises; run by the fake, a folder and real S3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrag_pipeline.errors import BadVectors
from mrag_pipeline.ports import BulkFiles, StagedTable
from mrag_pipeline.staging import tables as staged_tables
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.bulk_files import BulkFolder
from tests.support.fake_bulk_files import FakeBulkFiles
from tests.support.fake_staging import table_of

# The port; how a server would read a file of it, None if no file has that name; and how a table
# gets into a staged file that the server sees too.
Opened = tuple[BulkFiles, Callable[[str], pa.Table | None], Callable[[str, pa.Table], StagedTable]]
FILE_BYTES = 4_000  # of a copy, at most, and of a staged file that is not copied, at least


@pytest.fixture(params=["fake", "folder", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """No file written yet; the real ones write several files for a few hundred rows."""
    if request.param == "fake":
        return in_memory()
    if request.param == "folder":
        uri, root = str(tmp_path), tmp_path
        return (
            BulkFolder(f"{uri}/bulk", file_bytes=FILE_BYTES, in_place_bytes=FILE_BYTES),
            lambda name: pq.read_table(name) if (root / name).exists() else None,
            partial(put_into, Folder(f"{uri}/staging")),
        )
    uri = f"s3://{request.getfixturevalue('bucket')}"

    def read(name: str) -> pa.Table | None:
        # A server knows its bucket, so files are named by their key within it.
        content = Folder(uri).read(name)
        return None if content is None else pq.read_table(pa.BufferReader(content))

    return (
        BulkFolder(f"{uri}/bulk", file_bytes=FILE_BYTES, in_place_bytes=FILE_BYTES),
        read,
        partial(put_into, Folder(f"{uri}/staging")),
    )


def in_memory() -> Opened:
    fake = FakeBulkFiles(in_place_bytes=FILE_BYTES)

    def stage(name: str, table: pa.Table) -> StagedTable:
        fake.files[f"staging/{name}"] = table
        return StagedTable("memory", f"staging/{name}", table.nbytes, len(table), lambda: table)

    return fake, fake.files.get, stage


def put_into(folder: Folder, name: str, table: pa.Table) -> StagedTable:
    """As staging writes it."""
    content = staged_tables.parquet(table, "zstd")
    folder.write(name, content)
    return StagedTable(folder.store, folder.path(name), content.size, len(table), lambda: table)


def some_tables(sizes: Sequence[int]) -> list[pa.Table]:
    random = np.random.default_rng(0)
    starts = np.cumsum([0, *sizes])
    return [
        table_of(range(start, start + size), random.normal(size=(size, 8)))
        for start, size in zip(starts.tolist(), sizes, strict=False)
    ]


def test_every_row_is_written_once_in_order(opened: Opened) -> None:
    """Empty tables give no empty file; each file says how many rows it has."""
    files, read, _ = opened
    given = some_tables([100, 0, 300, 1])
    written = list(files.write("docs_h00", given))
    tables = [read(file.name) for file in written]
    assert all(tables)
    assert [table.num_rows for table in tables if table] == [file.num_rows for file in written]
    assert pa.concat_tables([table for table in tables if table]).equals(pa.concat_tables(given))
    assert min(file.num_rows for file in written) > 0


def test_no_rows_give_no_file(opened: Opened) -> None:
    """An empty collection has nothing to import."""
    files, _, _ = opened
    assert list(files.write("docs_h00", [])) == []
    assert list(files.write("docs_h00", some_tables([0]))) == []


def test_files_are_written_when_they_are_asked_for(opened: Opened) -> None:
    """A file can be imported while the next tables are still to come."""
    files, read, _ = opened
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
    files, _, _ = opened
    names = [file.name for _ in range(2) for file in files.write("c", some_tables([10, 10]))]
    assert len(set(names)) == len(names)


def test_removing_takes_one_collections_files(opened: Opened) -> None:
    """Those of every write, and no other collection's; a second time does nothing."""
    files, read, _ = opened
    gone = [file.name for _ in range(2) for file in files.write("a_h01", some_tables([10]))]
    [stays] = files.write("a_h010", some_tables([10]))
    files.remove("a_h01")
    files.remove("a_h01")
    assert [read(name) for name in gone] == [None, None]
    assert read(stays.name) is not None


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_vectors_that_an_import_would_not_check_are_refused(opened: Opened, bad: float) -> None:
    """NaN, infinite and zero vectors."""
    files, _, _ = opened
    vectors = np.ones((3, 8), np.float32)
    vectors[1] = bad
    with pytest.raises(BadVectors):
        list(files.write("docs_h00", [table_of(range(3), vectors)]))


def test_a_large_staged_file_is_taken_as_it_is(opened: Opened) -> None:
    """Nothing is read or written; the server finds the file, also after the copies' removal."""
    files, read, stage = opened
    [table] = some_tables([300])
    staged = replace(stage("a.parquet", table), read=must_not_be_called)
    [file] = files.write("docs_h00", [staged])
    assert (file.num_rows, file.staged) == (300, staged)
    files.remove("docs_h00")
    found = read(file.name)
    assert found is not None
    assert found.equals(table)


def test_small_staged_files_are_copied(opened: Opened) -> None:
    """Each row once, those of large files beside them; no copy says that it is staged."""
    files, read, stage = opened
    given = some_tables([20, 300, 20, 20])
    staged = [stage(f"{number}.parquet", table) for number, table in enumerate(given)]
    written = list(files.write("docs_h00", [*staged[:3], given[3]]))
    assert [file.num_rows for file in written if file.staged is not None] == [300]
    found = pa.concat_tables([read(file.name) for file in written]).sort_by("chunk_id")
    assert found.equals(pa.concat_tables(given))


def test_a_staged_file_elsewhere_is_copied(opened: Opened) -> None:
    """In another bucket, or on a disk beside a bucket."""
    files, read, stage = opened
    [table] = some_tables([300])
    elsewhere = replace(stage("a.parquet", table), store="another")
    written = list(files.write("docs_h00", [elsewhere]))
    assert [file.staged for file in written] == [None] * len(written)
    assert pa.concat_tables([read(file.name) for file in written]).equals(table)


def must_not_be_called() -> pa.Table:
    raise AssertionError("a file is read that the server reads by itself")
