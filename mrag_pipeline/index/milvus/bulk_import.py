"""Rows that a Milvus server fetches by itself: its bulk import of Parquet files.

The server keeps its tasks by collection, so nothing is written down here: what a run that was
killed has asked for is found again by asking. 2.3.5 works on one task at a time, and one whose
collection is dropped meanwhile holds up every other for a quarter of an hour (measured): so a
collection is dropped when its tasks have ended, and not before. Decision 0038.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pymilvus import BulkInsertState, MilvusClient

from mrag_pipeline.errors import IndexUnavailable, PlanRefused
from mrag_pipeline.index.milvus.pymilvus_private import call_context_of, handler_of
from mrag_pipeline.ports import BulkFile, BulkFiles
from mrag_pipeline.settings.milvus import MilvusSpec

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_FAILED = (BulkInsertState.ImportFailed, BulkInsertState.ImportFailedAndCleaned)
_ENDED = (*_FAILED, BulkInsertState.ImportCompleted)
_LOOK_S = 0.2
_MAX_TASKS = 1_024
# A server gives a task of a lost worker up after 900 s by default (importTaskExpiration).
_SILENT_S = 1_000.0
_LOST_S = 60.0  # after which one that was begun before the server was killed is taken for lost


class BulkImport:
    """Bulk imports of one database."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec, files: BulkFiles) -> None:
        self._client = client
        self._spec = spec
        self._files = files

    def fill(
        self, collection: str, tables: Iterable[pa.Table], on_rows: Callable[[int], None]
    ) -> None:
        """The rows are in the collection, not yet indexed; the files are gone again.

        Args:
            on_rows: told of rows as their file is done, and of 0 while the server works.
        Raises: PlanRefused with the server's reason if it cannot take a file; IndexUnavailable;
            BadVectors, StorageFull, StagingError.
        """
        self._files.remove(collection)
        waited: dict[int, BulkFile] = {}
        for file in self._files.write(collection, tables):
            waited[self._submit(collection, file)] = file
            on_rows(0)
        log.info("bulk_import collection=%s tasks=%s", collection, sorted(waited))
        self._wait(collection, waited, on_rows)
        self._files.remove(collection)

    def settle(self, collection: str) -> None:
        """No task of the collection is at work any more, whoever asked for it.

        One that was begun and does not move for a minute is left to the server: killed, 2.3.5 may
        keep a task in state Started until it expires. No import waits behind such a one.
        """
        tasks = [task for task in self._tasks(collection) if task.state not in _ENDED]
        if tasks:
            log.info("bulk_import_settling collection=%s tasks=%d", collection, len(tasks))
        last, since = "", time.monotonic()
        while tasks:
            told = ", ".join(f"{task.task_id} {task.state_name}" for task in tasks)
            if told != last:
                last, since = told, time.monotonic()
            silent_s = time.monotonic() - since
            waiting = any(task.state == BulkInsertState.ImportPending for task in tasks)
            if silent_s > _LOST_S and not waiting:
                log.warning("bulk_import_lost collection=%s tasks=%s", collection, told)
                return
            if silent_s > _SILENT_S:
                raise _stuck(collection, told)
            time.sleep(_LOOK_S)
            tasks = [task for task in self._tasks(collection) if task.state not in _ENDED]

    def _submit(self, collection: str, file: BulkFile) -> int:
        # utility.do_bulk_insert would need a second connection of the old kind.
        return int(
            self._handler().do_bulk_insert(
                collection,
                "",
                [file.name],
                timeout=self._spec.timeout_s,
                context=call_context_of(self._client),
            )
        )

    def _wait(
        self, collection: str, waited: dict[int, BulkFile], on_rows: Callable[[int], None]
    ) -> None:
        last: dict[int, tuple[int, int]] = {}
        since = time.monotonic()
        while waited:
            for task, file in list(waited.items()):
                state = self._state(task)
                if state.state in _FAILED:
                    raise _failed(collection, file, state)
                if state.state == BulkInsertState.ImportCompleted:
                    del waited[task]
                    since = time.monotonic()
                    on_rows(file.num_rows)
                elif last.get(task) != (now := (state.state, state.row_count)):
                    last[task] = now
                    since = time.monotonic()
            if time.monotonic() - since > _SILENT_S:
                raise _stuck(collection, ", ".join(map(str, waited)))
            if waited:
                on_rows(0)
                time.sleep(_LOOK_S)

    def _state(self, task: int) -> BulkInsertState:
        return self._handler().get_bulk_insert_state(
            task, timeout=self._spec.timeout_s, context=call_context_of(self._client)
        )

    def _tasks(self, collection: str) -> list[BulkInsertState]:
        return list(
            self._handler().list_bulk_insert_tasks(
                _MAX_TASKS,
                collection,
                timeout=self._spec.timeout_s,
                context=call_context_of(self._client),
            )
        )

    def _handler(self) -> Any:
        return handler_of(self._client)


def _failed(
    collection: str, file: BulkFile, state: BulkInsertState
) -> IndexUnavailable | PlanRefused:
    reason = state.infos.get(BulkInsertState.FAILED_REASON, "")
    found = f"the import of {file.name} into {collection} failed: {reason}"
    if "restart" in reason or "timeout" in reason.lower():
        return IndexUnavailable(found, fix="run the same command again: it is imported anew")
    return PlanRefused(
        found,
        "a file that the server can read by that name",
        "set milvus.bulk_path to how the server names milvus.bulk_uri, or leave milvus.bulk_uri "
        "empty: rows then go over the network",
    )


def _stuck(collection: str, tasks: str) -> IndexUnavailable:
    return IndexUnavailable(
        f"imports into {collection} have not moved for {_SILENT_S:g} s: {tasks}",
        "a server that works on them",
        "look at the server's log; the same command goes on",
    )
