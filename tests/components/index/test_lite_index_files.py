"""Index files of Milvus Lite that a killed process began to write do not stop the next one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from mrag_pipeline.index.milvus import lite_clients
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.index.milvus.lite_index_files import cut_index_files
from mrag_pipeline.index.milvus.read_only import LinkedDatabase
from mrag_pipeline.ports import CollectionSpec, SearchRequest
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.fake_staging import table_of
from tests.support.index_rows import vectors

NUM_ROWS = 20
HEAD = CollectionSpec("docs_v1_l00_h00", "head", 8)
LENGTHS = (0, 5, 10, 127, 128, -1)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """One collection of a head, closed."""
    path = tmp_path / "x.db"
    with closing(open_index(MilvusSpec(uri=str(path)), "docs")) as index:
        index.load(HEAD, [table_of(range(NUM_ROWS), vectors(NUM_ROWS))])
    return path


def cut(database: Path, length: int) -> Path:
    """Leaves so many bytes of the collection's index file; of a negative number all but these."""
    [file] = database.rglob("*.idx")
    file.write_bytes(file.read_bytes()[:length])
    return file


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a killed process left stays there."""
    with monkeypatch.context() as patched:
        patched.setattr(lite_clients, "remove_leftovers", lambda _: None)
        yield


@pytest.mark.parametrize("length", LENGTHS)
def test_the_next_process_adds_rows_and_finds_all(database: Path, length: int) -> None:
    """Wherever the file ends."""
    file = cut(database, length)
    assert cut_index_files(database) == [file]
    with closing(open_index(MilvusSpec(uri=str(database)), "docs")) as index:
        index.upsert(HEAD, table_of([NUM_ROWS], vectors(NUM_ROWS + 1)[NUM_ROWS:]))
        [ranking] = index.search([SearchRequest(HEAD.name, vectors(NUM_ROWS + 1)[[0, 20]], 1)])
        assert ranking.ids[:, 0].tolist() == [0, NUM_ROWS]
    assert cut_index_files(database) == []


@pytest.mark.usefixtures("kept")
def test_lite_by_itself_refuses_the_collection(database: Path) -> None:
    """As long as this is so, the files have to be removed."""
    cut(database, 0)
    with (
        closing(open_index(MilvusSpec(uri=str(database)), "docs")) as index,
        pytest.raises(Exception, match="No data left"),
    ):
        index.upsert(HEAD, table_of([NUM_ROWS], vectors(1)))


def test_whole_files_stay(database: Path) -> None:
    """An index that is built is not built again."""
    [file] = database.rglob("*.idx")
    before = file.stat().st_mtime_ns
    assert cut_index_files(database) == []
    with closing(open_index(MilvusSpec(uri=str(database)), "docs")):
        assert file.stat().st_mtime_ns == before


def test_who_can_only_read_does_not_read_it(database: Path) -> None:
    """Lite builds it in the reader's copy."""
    cut(database, 5)
    with closing(LinkedDatabase(database)) as linked:
        assert not list(linked.folder.rglob("*.idx"))
    assert len(list(database.rglob("*.idx"))) == 1


@pytest.mark.parametrize("length", [0, 3, 6, 100, -1])
def test_an_index_of_values(tmp_path: Path, length: int) -> None:
    """Lite keeps those of filtered fields in Arrow's format."""
    table = pa.table({"value": list(range(50))})
    sink = io.BytesIO()
    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    folder = tmp_path / "collections/docs/partitions/_default/indexes"
    folder.mkdir(parents=True)
    file = folder / "data_1.year.inverted.sidx"
    file.write_bytes(sink.getvalue())
    assert cut_index_files(tmp_path) == []
    file.write_bytes(sink.getvalue()[:length])
    assert cut_index_files(tmp_path) == [file]


def test_other_formats_are_seen_where_they_are_empty(tmp_path: Path) -> None:
    """Those of FAISS do not say how long they are."""
    folder = tmp_path / "collections/docs/partitions/_default/indexes"
    folder.mkdir(parents=True)
    (folder / "data_1.vector.hnsw.idx").write_bytes(b"")
    (folder / "data_2.vector.hnsw.idx").write_bytes(np.arange(9).tobytes())
    assert [file.name for file in cut_index_files(tmp_path)] == ["data_1.vector.hnsw.idx"]
