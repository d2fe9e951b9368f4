"""Bulk import: a Milvus server reads Parquet files by itself.

The server lists its tasks by collection, so nothing is recorded here: the tasks of a killed run
are found by asking the server. 2.3.5 works on one task at a time. If a task's collection is
dropped meanwhile, the task blocks all others for a quarter of an hour (measured), so a collection
is dropped only after its tasks have ended. Decision 0038.

A staged file is imported where it is, if the server can read it; else it is copied. Decision 0125.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]  # it ships no types
from pymilvus import BulkInsertState, MilvusClient, MilvusException

from mrag_pipeline.errors import IndexUnavailable, MragError, PlanRefused
from mrag_pipeline.index.milvus.pymilvus_private import call_context_of, handler_of
from mrag_pipeline.ports import BulkFile, BulkFiles, StagedTable, as_table
from mrag_pipeline.settings.milvus import MilvusSpec

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_FAILED = (BulkInsertState.ImportFailed, BulkInsertState.ImportFailedAndCleaned)
_ENDED = (*_FAILED, BulkInsertState.ImportCompleted)
_POLL_S = 0.2
_MAX_TASKS = 1_024
# By default a server gives up a lost worker's task after 900 s (importTaskExpiration).
_SILENT_S = 1_000.0
_LOST_S = 60.0  # a started task that does not move for so long counts as lost


class ImportTasks:
    """The tasks of bulk imports in one database, whichever process asked for them."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec) -> None:
        self._client = client
        self._spec = spec

    def settle(self, collection: str) -> None:
        """Waits until no task of the collection is running, whichever process started it.

        A started task that does not move for a minute is left to the server: after a kill, 2.3.5
        may keep a task in state Started until it expires. Such a task blocks no other import.
        """
        tasks = [task for task in self._tasks(collection) if task.state not in _ENDED]
        if tasks:
            log.info("bulk_import_settling collection=%s tasks=%d", collection, len(tasks))
        last_states, changed_at = "", time.monotonic()
        while tasks:
            states = ", ".join(f"{task.task_id} {task.state_name}" for task in tasks)
            if states != last_states:
                last_states, changed_at = states, time.monotonic()
            silent_s = time.monotonic() - changed_at
            waiting = any(task.state == BulkInsertState.ImportPending for task in tasks)
            if silent_s > _LOST_S and not waiting:
                log.warning("bulk_import_lost collection=%s tasks=%s", collection, states)
                return
            if silent_s > _SILENT_S:
                raise _stuck(collection, states)
            time.sleep(_POLL_S)
            tasks = [task for task in self._tasks(collection) if task.state not in _ENDED]

    def settle_if_listed(self, collection: str) -> None:
        """As `settle`, by a process that imports nothing itself.

        A server that lists no tasks, or none to this user, is passed over: imports are rarely used.
        """
        try:
            self.settle(collection)
        except (MilvusException, grpc.RpcError) as error:
            log.info("imports_not_listed collection=%s error=%s", collection, error)

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


class BulkImport(ImportTasks):
    """Runs bulk imports in one database."""

    def __init__(self, client: MilvusClient, spec: MilvusSpec, files: BulkFiles) -> None:
        super().__init__(client, spec)
        self._files = files
        self._reads_staging = True  # whether the server does, as far as is known

    def fill(
        self,
        collection: str,
        tables: Iterable[pa.Table | StagedTable],
        on_rows: Callable[[int], None],
        max_tasks: int,
    ) -> None:
        """Imports the rows, which are not indexed yet, and removes the files written for that.

        Args:
            on_rows: called with a file's rows when it is imported, and with 0 during waits.
            max_tasks: that the server has at one time.
        Raises: PlanRefused with the server's reason if it refuses a file; IndexUnavailable;
            BadVectors, StorageFull, StagingError.
        """
        self._files.remove(collection)
        pending_files: dict[int, BulkFile] = {}
        num_files = num_staged = 0
        for file in self._files.write(collection, self._read_if_need_be(tables)):
            pending_files[self._submit(collection, file)] = file
            num_files += 1
            num_staged += file.staged is not None
            on_rows(0)
            self._wait(collection, pending_files, on_rows, at_most=max_tasks - 1)
        self._wait(collection, pending_files, on_rows, at_most=0)
        log.info("bulk_import collection=%s files=%d staged=%d", collection, num_files, num_staged)
        self._files.remove(collection)

    def remove_copies(self, collection: str) -> None:
        """Removes what a load that was cut short has written for a collection that is gone."""
        try:
            self._files.remove(collection)
        except MragError as error:  # the collection is dropped all the same
            log.warning("bulk_copies_kept collection=%s error=%s", collection, error)

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

    def _read_if_need_be(
        self, tables: Iterable[pa.Table | StagedTable]
    ) -> Iterator[pa.Table | StagedTable]:
        for table in tables:
            yield table if self._reads_staging else as_table(table)

    def _wait(
        self,
        collection: str,
        pending_files: dict[int, BulkFile],
        on_rows: Callable[[int], None],
        at_most: int,
    ) -> None:
        """Returns when so many tasks are left."""
        last_progress: dict[int, tuple[int, int]] = {}
        changed_at = time.monotonic()
        while len(pending_files) > at_most:
            for task, file in list(pending_files.items()):
                state = self._state(task)
                if state.state in _FAILED:
                    del pending_files[task]
                    for copy in self._copies(collection, file, state):
                        pending_files[self._submit(collection, copy)] = copy
                    changed_at = time.monotonic()
                    continue
                if state.state == BulkInsertState.ImportCompleted:
                    del pending_files[task]
                    changed_at = time.monotonic()
                    on_rows(file.num_rows)
                elif last_progress.get(task) != (progress := (state.state, state.row_count)):
                    last_progress[task] = progress
                    changed_at = time.monotonic()
            if time.monotonic() - changed_at > _SILENT_S:
                raise _stuck(collection, ", ".join(map(str, pending_files)))
            if len(pending_files) > at_most:
                on_rows(0)
                time.sleep(_POLL_S)

    def _copies(
        self, collection: str, file: BulkFile, state: BulkInsertState
    ) -> Iterator[BulkFile]:
        """Copies of a staged file that the server did not read, though it is whole.

        A server that does not see the staging folder says no more than that there is no such file.
        Raises: StagingError if the file is damaged; else what `_failed` says of any other failure.
        """
        error = _failed(collection, file, state)
        if file.staged is None or isinstance(error, IndexUnavailable):
            raise error
        table = file.staged.read()
        self._reads_staging = False  # it would be asked for each file of each collection
        log.warning("bulk_import_copied collection=%s reason=%s", collection, error.found)
        return self._files.write(collection, [table])

    def _state(self, task: int) -> BulkInsertState:
        return self._handler().get_bulk_insert_state(
            task, timeout=self._spec.timeout_s, context=call_context_of(self._client)
        )


def _failed(
    collection: str, file: BulkFile, state: BulkInsertState
) -> IndexUnavailable | PlanRefused:
    reason = state.infos.get(BulkInsertState.FAILED_REASON, "")
    failure = f"the import of {file.name} into {collection} failed: {reason}"
    if "restart" in reason or "timeout" in reason.lower():
        return IndexUnavailable(
            failure, fix="run the same command again: it imports the file again"
        )
    return PlanRefused(
        failure,
        "a file that the server can read under that name",
        "set milvus.bulk_path to the server's name for milvus.bulk_uri, or leave milvus.bulk_uri "
        "empty to send the rows over the network",
    )


def _stuck(collection: str, tasks: str) -> IndexUnavailable:
    return IndexUnavailable(
        f"imports into {collection} have not moved for {_SILENT_S:g} s: {tasks}",
        "a server that works on them",
        "check the server's log, then run the same command again: it continues",
    )
