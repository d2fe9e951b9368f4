"""The server's bulk import, scripted by task states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pymilvus import BulkInsertState

from mrag_pipeline.errors import IndexUnavailable, PlanRefused
from mrag_pipeline.index.milvus import bulk_import
from mrag_pipeline.index.milvus.bulk_import import BulkImport, ImportTasks
from mrag_pipeline.ports import BulkFile
from mrag_pipeline.settings.milvus import MilvusSpec

PENDING, STARTED = BulkInsertState.ImportPending, BulkInsertState.ImportStarted
DONE, FAILED = BulkInsertState.ImportCompleted, BulkInsertState.ImportFailed


class Server:
    """Answers each poll of a task with its next state; the last state stays."""

    def __init__(self, *scripts: list[int], reason: str = "") -> None:
        self.scripts = {at: list(script) for at, script in enumerate(scripts)}
        self.reason = reason
        self.asked: list[tuple[str, list[str]]] = []

    def client(self) -> Any:
        return SimpleNamespace(_get_connection=lambda: self, _generate_call_context=lambda: None)

    def do_bulk_insert(self, collection: str, _: str, files: list[str], **__: object) -> int:
        self.asked.append((collection, files))
        return len(self.asked) - 1

    def get_bulk_insert_state(self, task: int, **_: object) -> Any:
        script = self.scripts[task]
        state = script.pop(0) if len(script) > 1 else script[0]
        told = {"failed_reason": self.reason}
        return SimpleNamespace(task_id=task, state=state, state_name=str(state), row_count=0,
                               infos=told)  # fmt: skip

    def list_bulk_insert_tasks(self, _: int, __: str, **___: object) -> list[Any]:
        return [self.get_bulk_insert_state(task) for task in self.scripts]


class Files:
    """A file for each table."""

    def __init__(self) -> None:
        self.removed = 0

    def write(self, collection: str, tables: Iterable[pa.Table]) -> Iterator[BulkFile]:
        for at, table in enumerate(tables):
            yield BulkFile(f"/bulk/{collection}/{at}", table.num_rows)

    def remove(self, collection: str) -> None:
        assert collection == "c"
        self.removed += 1


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_import, "_POLL_S", 0.0)


def a_table(num_rows: int) -> pa.Table:
    return pa.table({"chunk_id": list(range(num_rows))})


def filled(server: Server, *sizes: int) -> tuple[list[int], Files]:
    files = Files()
    told: list[int] = []
    imports = BulkImport(server.client(), MilvusSpec(uri="http://x"), files)
    imports.fill("c", map(a_table, sizes), told.append, max_tasks=8)
    return [rows for rows in told if rows], files


def test_a_fill_waits_for_the_task_of_each_file() -> None:
    """Rows are reported as files are imported, in any order; the files are removed last."""
    server = Server([PENDING, STARTED, STARTED, DONE], [DONE])
    told, files = filled(server, 3, 5)
    assert server.asked == [("c", ["/bulk/c/0"]), ("c", ["/bulk/c/1"])]
    assert told == [5, 3]
    assert files.removed == 2


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("the file '/bulk/c/0' does not exist", PlanRefused),
        ("task marked failed as service restarted", IndexUnavailable),
    ],
)
def test_a_failed_task_is_reported_with_its_reason(reason: str, error: type[Exception]) -> None:
    """A failure that may pass is transient; an unreadable file is permanent."""
    with pytest.raises(error, match=f"the import of /bulk/c/0 into c failed: {reason}"):
        filled(Server([STARTED, FAILED], reason=reason), 3)


def test_settling_ends_when_no_task_is_running() -> None:
    """Ended tasks do not count; running tasks are polled until they end."""
    server = Server([DONE], [FAILED], [PENDING, STARTED, STARTED, DONE])
    ImportTasks(server.client(), MilvusSpec(uri="http://x")).settle("c")
    assert server.scripts[2] == [DONE]


def test_a_server_that_makes_no_progress_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both the wait for an import and settling raise IndexUnavailable."""
    monkeypatch.setattr(bulk_import, "_SILENT_S", 0.02)
    with pytest.raises(IndexUnavailable, match="have not moved"):
        filled(Server([PENDING]), 3)
    with pytest.raises(IndexUnavailable, match="have not moved"):
        BulkImport(Server([PENDING]).client(), MilvusSpec(uri="http://x"), Files()).settle("c")


def test_settling_does_not_wait_for_a_lost_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A started task that is silent for long is lost; a pending one is not."""
    monkeypatch.setattr(bulk_import, "_LOST_S", 0.02)
    server = Server([STARTED])
    BulkImport(server.client(), MilvusSpec(uri="http://x"), Files()).settle("c")
    monkeypatch.setattr(bulk_import, "_SILENT_S", 0.1)
    with pytest.raises(IndexUnavailable, match="have not moved"):
        BulkImport(
            Server([STARTED], [PENDING]).client(), MilvusSpec(uri="http://x"), Files()
        ).settle("c")


def test_an_error_in_on_rows_ends_the_wait() -> None:
    """If another load fails, this one's import is not waited for."""

    def stop(_: int) -> None:
        raise KeyError

    imports = BulkImport(Server([PENDING]).client(), MilvusSpec(uri="http://x"), Files())
    with pytest.raises(KeyError):
        imports.fill("c", [a_table(3)], stop, max_tasks=8)
