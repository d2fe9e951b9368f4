"""Which logs of Milvus Lite are removed before it opens a database: those that are stored whole."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.index.milvus import connection
from mrag_pipeline.index.milvus.lite_leftovers import remove_leftovers
from mrag_pipeline.index.milvus.lite_logs import flushed_logs
from mrag_pipeline.index.milvus.read_only import LinkedDatabase
from mrag_pipeline.settings.milvus import MilvusSpec

NAMED = {"data_files": ["data/a.parquet"], "delta_files": []}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """With a collection's logs 4 to 6, of which 6 is the first that is not stored."""
    database = tmp_path / "x.db"
    folder = collection(database)
    for name in ("wal", "partitions/_default/data"):
        (folder / name).mkdir(parents=True)
    (database / "LOCK").touch()
    for number in (4, 5, 6):
        (folder / "wal" / f"wal_data_{number:06}.arrow").touch()
    (folder / "wal" / "wal_delta_000005.arrow").touch()
    pq.write_table(pa.table({"id": [1]}), folder / "partitions/_default/data/a.parquet")
    write(database, active_wal_number=6, partitions={"_default": NAMED})
    return database


def collection(database: Path) -> Path:
    return database / "collections" / "docs"


def write(database: Path, **manifest: object) -> None:
    (collection(database) / "manifest.json").write_text(json.dumps(manifest))


def logs(database: Path) -> list[str]:
    return sorted(file.name for file in (collection(database) / "wal").iterdir())


def test_stored_logs_are_removed_and_no_others(database: Path) -> None:
    """Rows and deletions; a file of another name stays."""
    (collection(database) / "wal" / "wal_data_000001_copy.arrow").touch()
    remove_leftovers(database)
    assert logs(database) == ["wal_data_000001_copy.arrow", "wal_data_000006.arrow"]


@pytest.mark.parametrize(
    "manifest",
    [
        {"partitions": {"_default": NAMED}},
        {"active_wal_number": None, "partitions": {"_default": NAMED}},
        {"active_wal_number": 6, "partitions": []},
        {"active_wal_number": 6, "partitions": {"_default": []}},
        {"active_wal_number": 6, "partitions": {"_default": NAMED | {"delta_files": ["gone"]}}},
    ],
)
def test_without_a_manifest_that_lite_takes_all_logs_stay(
    database: Path, manifest: dict[str, object]
) -> None:
    """Lite goes back to the one before, or reads the logs in place of a lost file."""
    write(database, **manifest)
    assert flushed_logs(database) == []


def test_without_a_whole_data_file_all_logs_stay(database: Path) -> None:
    """The machine lost power: the manifest was written, the file was not."""
    file = collection(database) / "partitions/_default/data/a.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    assert flushed_logs(database) == []
    (collection(database) / "manifest.json").write_text("{")
    assert flushed_logs(database) == []


def test_a_database_that_is_open_is_left_alone(database: Path) -> None:
    """Its owner may be about to remove them."""
    fcntl = pytest.importorskip("fcntl")
    with (database / "LOCK").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_leftovers(database)
        assert len(logs(database)) == 4


def test_who_can_only_read_does_not_read_them(database: Path) -> None:
    """Lite would merge and store them in the reader's copy."""
    linked = LinkedDatabase(database)
    assert [file.name for file in linked.folder.rglob("*.arrow")] == ["wal_data_000006.arrow"]
    linked.close()
    assert len(logs(database)) == 4


def test_logs_that_cannot_be_removed_are_said_in_one_line(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's, for example."""

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied", "wal_data_000005.arrow")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ConfigError, match=r"cannot open .*wal_data_000005"):
        connection.connect(MilvusSpec(uri=str(database)))
