"""Staged files that a server imports where they are: real files, and a server that reads them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymilvus import BulkInsertState

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.errors import IndexUnavailable, PlanRefused, StagingError
from mrag_pipeline.index.milvus import bulk_import
from mrag_pipeline.index.milvus.adapter import MilvusIndex
from mrag_pipeline.index.milvus.bulk_import import BulkImport
from mrag_pipeline.ports import StagedTable, StagedTables
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging.bulk_files import BulkFolder
from mrag_pipeline.staging.shards import ShardFolders
from tests.support.fake_staging import HEADS, PLAN, a_manifest, an_output, table_of
from tests.support.index_rows import HEAD, TEXTS, texts, vectors
from tests.support.staged_shards import VERSION

SHARDS = (0, 1, 2)


class ReadingServer:
    """Reads a task's file when it is first asked how the task goes."""

    def __init__(self, unseen: Path | None = None, reason: str = "") -> None:
        """Files below `unseen` are not there for it; with a reason, every task fails."""
        self.names: list[str] = []  # by task
        self.tables: list[pa.Table] = []  # of the tasks that succeeded
        self.most_at_once = 0
        self._unseen = unseen
        self._reason = reason
        self._ended: dict[int, Any] = {}

    def imports(self, bulk: Path) -> BulkImport:
        client: Any = SimpleNamespace(
            _get_connection=lambda: self, _generate_call_context=lambda: None
        )
        files = BulkFolder(str(bulk), in_place_bytes=0)
        return BulkImport(client, MilvusSpec(uri="http://x"), files)

    def do_bulk_insert(self, _: str, __: str, files: list[str], **___: object) -> int:
        [name] = files
        self.names.append(name)
        self.most_at_once = max(self.most_at_once, len(self.names) - len(self._ended))
        return len(self.names) - 1

    def get_bulk_insert_state(self, task: int, **_: object) -> Any:
        if task not in self._ended:
            self._ended[task] = self._imported(self.names[task])
        return self._ended[task]

    def _imported(self, name: str) -> Any:
        state, reason = BulkInsertState.ImportCompleted, self._reason
        if not reason:
            try:
                if self._unseen is not None and Path(name).is_relative_to(self._unseen):
                    raise FileNotFoundError(f"the file '{name}' does not exist")
                self.tables.append(pq.read_table(name))
            except (OSError, pa.ArrowException) as error:
                reason = str(error)
        if reason:
            state = BulkInsertState.ImportFailed
        return SimpleNamespace(state=state, row_count=0, infos={"failed_reason": reason})


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_import, "_POLL_S", 0.0)


@pytest.fixture
def staging(tmp_path: Path) -> ShardFolders:
    """Three shards of four chunks, staged as a server imports them."""
    spec = StagingSpec(uri=str(tmp_path / "staging"))
    made = ShardFolders(spec, "docs", VERSION, import_bytes=0)
    made.write_manifest(a_manifest())
    for shard in SHARDS:
        made.write_shard(an_output(shard, names=(f"a{shard}", f"b{shard}")), PLAN)
    made.write_duplicates({})
    return made


def rows_of(staging: ShardFolders) -> StagedTables:
    return StagedTables(
        SHARDS,
        lambda shard: staging.head(shard, HEADS[1]),
        lambda shard: staging.head_file(shard, HEADS[1]),
    )


def filled(imports: BulkImport, staging: ShardFolders, max_tasks: int = 8) -> int:
    """Imports a head; returns the rows that were reported."""
    reported: list[int] = []
    imports.fill("c", rows_of(staging).in_files(), reported.append, max_tasks)
    return sum(reported)


def in_order(tables: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).sort_by("chunk_id")


def test_a_server_reads_staged_files_where_they_are(staging: ShardFolders, tmp_path: Path) -> None:
    """Every row once; nothing is written, and staging is as it was."""
    server, bulk = ReadingServer(), tmp_path / "bulk"
    before = {path: path.read_bytes() for path in (tmp_path / "staging").rglob("*.parquet")}
    assert filled(server.imports(bulk), staging) == 12
    assert in_order(server.tables).equals(in_order(rows_of(staging)))
    assert all(Path(name).is_relative_to(tmp_path / "staging") for name in server.names)
    assert not bulk.exists()
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize("left_out", [[], ["a1"]])
def test_a_server_reads_staged_chunks_where_they_are(
    staging: ShardFolders, tmp_path: Path, left_out: list[str]
) -> None:
    """With their proofs; a shard with duplicates is copied."""
    staging.write_duplicates({1: [DeadLetter(name, "", "", "") for name in left_out]})
    server, bulk = ReadingServer(), tmp_path / "bulk"
    given = StagedTables(SHARDS, staging.chunks, staging.chunks_file)
    reported: list[int] = []
    server.imports(bulk).fill("c", given.in_files(), reported.append, 8)
    assert sum(reported) == 12 - 2 * len(left_out)
    assert in_order(server.tables).equals(in_order(given))
    assert min(map(len, in_order(server.tables)["proof"].to_pylist())) > 10
    copied = [Path(name).is_relative_to(bulk) for name in server.names]
    assert copied == ([False, False, True] if left_out else [False] * 3)


def test_a_shard_with_duplicates_is_copied(staging: ShardFolders, tmp_path: Path) -> None:
    """Only that one: what is left out reaches no server."""
    staging.write_duplicates({1: [DeadLetter("a1", "", "", "")]})
    server, bulk = ReadingServer(), tmp_path / "bulk"
    assert filled(server.imports(bulk), staging) == 10
    assert in_order(server.tables).equals(in_order(rows_of(staging)))
    assert [Path(name).is_relative_to(bulk) for name in server.names] == [False, False, True]
    assert not list(bulk.rglob("*.parquet"))


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"garbage"), Path.unlink])
def test_a_damaged_staged_file_is_named(
    staging: ShardFolders, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    """As if it had been read to be copied: the file, and what to delete."""
    file = staging.head_file(1, HEADS[1])
    assert file is not None
    damage(Path(file.path))
    with pytest.raises(StagingError, match=r"l05_h07-\w+\.parquet is missing or damaged") as caught:
        filled(ReadingServer().imports(tmp_path / "bulk"), staging)
    assert "shards/00001 " in caught.value.fix


def test_what_the_server_does_not_see_is_copied(
    staging: ShardFolders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why; the next collection's staged files are not tried."""
    caplog.set_level(logging.INFO)
    server, bulk = ReadingServer(unseen=tmp_path / "staging"), tmp_path / "bulk"
    imports = server.imports(bulk)
    assert filled(imports, staging) == 12
    assert in_order(server.tables).equals(in_order(rows_of(staging)))
    assert "does not exist" in caplog.text
    server.names.clear()
    server._ended.clear()
    assert filled(imports, staging) == 12
    assert all(Path(name).is_relative_to(bulk) for name in server.names)
    assert not list(bulk.rglob("*.parquet"))


def test_a_server_that_sees_no_copy_either_is_refused(
    staging: ShardFolders, tmp_path: Path
) -> None:
    """The message names the copy and the setting to change, as it does without staged files."""
    with pytest.raises(PlanRefused, match=r"bulk/c/\w+/00000\.parquet") as caught:
        filled(ReadingServer(unseen=tmp_path).imports(tmp_path / "bulk"), staging)
    assert "milvus.bulk_path" in caught.value.fix


def test_a_failure_that_may_pass_copies_nothing(staging: ShardFolders, tmp_path: Path) -> None:
    """A server that was restarted can read the files next time."""
    server = ReadingServer(reason="task marked failed as service restarted")
    with pytest.raises(IndexUnavailable, match=r"the import of .*l05_h07"):
        filled(server.imports(tmp_path / "bulk"), staging)
    assert len(server.names) == 3
    assert not (tmp_path / "bulk").exists()


@pytest.mark.parametrize("max_tasks", [1, 2, 8])
def test_a_server_has_no_more_tasks_than_it_may(
    staging: ShardFolders, tmp_path: Path, max_tasks: int
) -> None:
    """Files are not written beforehand, and none is forgotten."""
    server = ReadingServer()
    assert filled(server.imports(tmp_path / "bulk"), staging, max_tasks) == 12
    assert server.most_at_once == min(3, max_tasks)


class TakenFiles:
    """A BulkImport that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.max_tasks: list[int] = []

    def fill(
        self, _: str, tables: Iterable[Any], __: Callable[[int], None], max_tasks: int
    ) -> None:
        self.given += tables
        self.max_tasks.append(max_tasks)

    def settle(self, _: str) -> None:
        pass

    def remove_copies(self, _: str) -> None:
        pass


def test_a_large_collection_reaches_the_import_unread(tmp_path: Path) -> None:
    """A smaller one is read and inserted; chunks that are read have proofs then."""
    table = table_of(range(30), vectors(30))
    file = StagedTable("", "/a.parquet", 1_000, 30, lambda: table)
    given = StagedTables((0, 1), lambda _: table, lambda shard: file if shard else None)
    for min_rows, is_imported in ((60, True), (61, False)):
        spec = MilvusSpec(uri=str(tmp_path / f"{min_rows}.db"), bulk_min_rows=min_rows)
        with closing(MilvusIndex(spec, "docs")) as index:
            taken = TakenFiles()
            index._import = taken  # type: ignore[assignment]
            num_rows = index.load(HEAD, given)
            assert taken.given == ([table, file] if is_imported else [])
            assert num_rows == (0 if is_imported else 30)  # Lite replaces rows of equal ids
    spec = MilvusSpec(uri=str(tmp_path / "chunks.db"), bulk_min_rows=1)
    with closing(MilvusIndex(spec, "docs")) as index:
        taken = TakenFiles()
        index._import = taken  # type: ignore[assignment]
        index.load(HEAD, given)
        chunks = StagedTables((0, 1), lambda _: texts(["a"]), lambda shard: file if shard else None)
        index.load(TEXTS, chunks)
        assert "proof" in taken.given[-2].column_names
        assert taken.given[-1] is file
        assert taken.max_tasks == [8, 64]
