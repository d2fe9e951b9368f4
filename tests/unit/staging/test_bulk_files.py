"""Files for a server's bulk import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow._fs import _MockFileSystem

from mrag_pipeline.errors import BadVectors
from mrag_pipeline.filesystems.location import Place
from mrag_pipeline.ports import StagedTable, as_table
from mrag_pipeline.staging import atomic_folder
from mrag_pipeline.staging.atomic_folder import Folder
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


def a_staged_table(path: Path, num_bytes: int = 1_000) -> StagedTable:
    """A file on a disk, which nothing opens."""
    table = table_of([1], vectors(1))
    return StagedTable("", str(path), num_bytes, 1, lambda: table)


def server_name(tmp_path: Path, staged: Path, path: str = "") -> str | None:
    """What the server calls the staged file, with `tmp_path / "bulk"` for copies; None: a copy."""
    folder = BulkFolder(str(tmp_path / "bulk"), path, in_place_bytes=1_000)
    [file] = folder.write("docs_h00", [a_staged_table(staged)])
    return None if file.staged is None else file.name


def test_a_staged_file_below_the_folder_has_the_servers_name(tmp_path: Path) -> None:
    """As the copies have, by `milvus.bulk_path`."""
    staged = tmp_path / "bulk/staging/docs/v1/a.parquet"
    assert server_name(tmp_path, staged, "/mnt/bulk/") == "/mnt/bulk/staging/docs/v1/a.parquet"
    assert server_name(tmp_path, staged) == str(staged)


def test_what_the_server_calls_a_file_elsewhere_is_known_only_if_names_are_the_same(
    tmp_path: Path,
) -> None:
    """With `milvus.bulk_path` it is copied; a folder that begins alike is elsewhere."""
    for staged in (tmp_path / "staging/a.parquet", tmp_path / "bulk-staging/a.parquet"):
        assert server_name(tmp_path, staged, "/mnt/bulk") is None
        assert server_name(tmp_path, staged) == str(staged)


def test_staging_in_the_same_bucket_is_named_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any kind of object store; of another bucket, or with other options, it is copied."""
    bucket = _MockFileSystem()

    def opened(uri: str, _: str) -> Place:
        return Place(bucket, uri.partition("://")[2].partition("?")[0])

    monkeypatch.setattr(atomic_folder, "open_place", opened)
    table = table_of([1], vectors(1))
    for uri, is_same in (
        ("gs://milvus/staging", True),
        ("gs://corpus/staging", False),
        ("gs://milvus/staging?endpoint_override=127.0.0.1", False),
        ("abfs://milvus/staging", False),
    ):
        staging = Folder(uri, "docs")
        staged = StagedTable(staging.store, staging.path("a.parquet"), 1_000, 1, lambda: table)
        [file] = BulkFolder("gs://milvus/bulk", in_place_bytes=0).write("docs_h00", [staged])
        assert (file.name == "staging/docs/a.parquet") == is_same, uri
        assert (file.staged is not None) == is_same, uri


def test_staged_files_that_are_too_small_for_tasks_of_their_own_are_joined(tmp_path: Path) -> None:
    """By their bytes in the file; beside what is copied anyway, too, in the order of their rows."""
    folder = BulkFolder(str(tmp_path), in_place_bytes=1_000)
    small = a_staged_table(tmp_path / "a.parquet", num_bytes=999)
    for others in ([small], [small, small], [table_of([2], vectors(1))]):
        [copy] = folder.write("docs_h00", [small, *others])
        assert copy.staged is None
        tables = [small.read(), *map(as_table, others)]
        assert pq.read_table(copy.name).equals(pa.concat_tables(tables))


def test_a_small_staged_file_with_none_to_join_is_not_copied(tmp_path: Path) -> None:
    """A copy would save the server no task; large files and empty ones beside it change nothing."""
    folder = BulkFolder(str(tmp_path), in_place_bytes=1_000)
    small = a_staged_table(tmp_path / "a.parquet", num_bytes=1)
    large = a_staged_table(tmp_path / "b.parquet")
    empty = table_of([], vectors(0))
    for given in ([small], [empty, small, empty], [large, small, large]):
        written = list(folder.write("docs_h00", given))
        assert [file.staged for file in written].count(small) == 1
        assert all(file.staged is not None for file in written)


def test_staging_below_the_folder_is_never_removed(tmp_path: Path) -> None:
    """Not even that of an index that is called like a collection."""
    folder = BulkFolder(str(tmp_path))
    staged = tmp_path / "docs_h00/v0123456789ab/manifest.json"
    staged.parent.mkdir(parents=True)
    staged.write_text("{}")
    list(folder.write("docs_h00", [table_of([1], vectors(1))]))
    folder.remove("docs_h00")
    assert staged.exists()


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
