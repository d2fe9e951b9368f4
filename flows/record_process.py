"""The process that writes a run's record: `python -m mrag_pipeline.flows.record_process`.

It reads the lines of `run_record.py` from standard input until that ends, and writes them to
Prefect's database by Prefect's own models, as its server does. A run that has not ended by then has
crashed: the process that it belonged to is gone.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from mrag_pipeline import library_settings
from mrag_pipeline.errors import first_line
from mrag_pipeline.quick_imports import quick_imports

if __name__ == "__main__":
    for _number in (signal.SIGINT, signal.SIGTERM):  # while Prefect is imported, too
        signal.signal(_number, signal.SIG_IGN)  # it ends when its input does
library_settings.settle()  # before Prefect reads them
with quick_imports():
    from prefect.server import models as prefect_models
    from prefect.server.database import PrefectDBInterface, provide_database_interface
    from prefect.server.schemas.actions import ArtifactUpdate
    from prefect.server.schemas.core import Artifact, Flow, FlowRun, TaskRun
    from prefect.server.schemas.states import State, StateType

models: Any = prefect_models  # the decorators of its functions have no types
_TYPES = {
    "Running": StateType.RUNNING,
    "AwaitingRetry": StateType.SCHEDULED,
    "Completed": StateType.COMPLETED,
    "Failed": StateType.FAILED,
    "Crashed": StateType.CRASHED,
}
_GONE = "the process of the run has ended without a word"


class Recorder:
    """Writes one message after the other; ids are Prefect's, found by those of the messages.

    Messages that another recorder has written already, before it was killed, change nothing.
    """

    def __init__(self, db: PrefectDBInterface) -> None:
        self._db = db
        self._ids: dict[str, UUID] = {}  # of runs, tasks and artifacts
        self._going_on: dict[str, str] = {}  # run or task, by id, in the order of their starts
        self._num_tasks: dict[tuple[str, str], int] = {}  # of a run, by name

    async def write(self, message: Mapping[str, Any]) -> None:
        """Writes a message.

        Raises: KeyError for one of a kind that is not known.
        """
        kinds = {
            "run": self._run,
            "task": self._task,
            "state": self._state,
            "artifact": self._artifact,
            "update": self._update,
        }
        async with self._db.session_context(begin_transaction=True) as session:
            await kinds[message["what"]](session, message)

    async def end(self) -> None:
        """Says of everything that has not ended that it has crashed, tasks before their runs."""
        at = datetime.now(UTC).isoformat()
        for owner, kind in reversed(list(self._going_on.items())):
            ended = {"what": "state", kind: owner, "state": "Crashed", "message": _GONE, "at": at}
            await self.write(ended)

    async def _run(self, session: Any, message: Mapping[str, Any]) -> None:
        flow = await models.flows.create_flow(session=session, flow=Flow(name=message["flow"]))
        run = FlowRun(
            flow_id=flow.id,
            # Sent again after a restart, it is the same run.
            idempotency_key=message["run"],
            parameters=message["parameters"],
            state=_state(message, "Running"),
        )
        made = await models.flow_runs.create_flow_run(session=session, flow_run=run)
        self._ids[message["run"]] = made.id
        self._going_on[message["run"]] = "run"
        if made.state_type == StateType.CRASHED:
            await self._state(session, _resumed(run=message["run"]))

    async def _task(self, session: Any, message: Mapping[str, Any]) -> None:
        name = message["name"]
        number = self._num_tasks.get((message["run"], name), 0)
        self._num_tasks[message["run"], name] = number + 1
        task = TaskRun(
            flow_run_id=self._ids[message["run"]],
            task_key=name,
            dynamic_key=str(number),
            name=f"{name}-{number}",
            state=_state(message, "Running"),
        )
        made = await models.task_runs.create_task_run(session=session, task_run=task)
        self._ids[message["task"]] = made.id
        self._going_on[message["task"]] = "task"
        if made.state_type == StateType.CRASHED:
            await self._state(session, _resumed(task=message["task"]))

    async def _state(self, session: Any, message: Mapping[str, Any]) -> None:
        state = _state(message, message["state"])
        owner = message.get("run") or message["task"]
        if "run" in message:
            if not await models.flow_run_states.read_flow_run_state(session, state.id):
                await models.flow_runs.set_flow_run_state(
                    session=session, flow_run_id=self._ids[owner], state=state, force=True
                )
        elif not await models.task_run_states.read_task_run_state(session, state.id):
            await models.task_runs.set_task_run_state(
                session=session, task_run_id=self._ids[owner], state=state, force=True
            )
        if state.is_final():
            self._going_on.pop(owner, None)

    async def _artifact(self, session: Any, message: Mapping[str, Any]) -> None:
        value = message["value"]
        made = self._ids[message["artifact"]] = UUID(message["artifact"])
        if await models.artifacts.read_artifact(session=session, artifact_id=made):
            return
        artifact = Artifact(
            id=made,
            key=message["key"],
            type=message["kind"],
            description=message["about"],
            data=json.dumps(value) if message["kind"] == "table" else value,
            flow_run_id=self._ids.get(message["run"]),
            task_run_id=self._ids.get(message["task"]),
        )
        await models.artifacts.create_artifact(session=session, artifact=artifact)

    async def _update(self, session: Any, message: Mapping[str, Any]) -> None:
        await models.artifacts.update_artifact(
            session=session,
            artifact_id=self._ids[message["artifact"]],
            artifact=ArtifactUpdate.model_validate({"data": message["value"]}),
        )


def _resumed(**owner: str) -> dict[str, str]:
    """What a recorder that failed has said to have crashed goes on."""
    return {"what": "state", "state": "Running", "at": datetime.now(UTC).isoformat(), **owner}


def _state(message: Mapping[str, Any], name: str) -> State:
    values = {
        "type": _TYPES[name],
        "name": name,
        "message": message.get("message") or None,
        "timestamp": datetime.fromisoformat(message["at"]),
    }
    if "id" in message:
        values["id"] = message["id"]
    return State.model_validate(values)


async def main() -> None:
    """Writes what comes in on standard input."""
    line = await asyncio.to_thread(sys.stdin.readline)
    if not line:
        return  # nothing to record: the database stays untouched
    db = provide_database_interface()
    await db.create_db()
    recorder = Recorder(db)
    try:
        while line.endswith("\n"):  # the last one of a process that was killed may be half a line
            await recorder.write(json.loads(line))
            line = await asyncio.to_thread(sys.stdin.readline)
    finally:
        await recorder.end()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except Exception as error:  # its last words are what the run's process tells
        sys.exit(f"{type(error).__name__}: {first_line(error)}")
