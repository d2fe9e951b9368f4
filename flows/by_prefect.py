"""Prefect's own flows and tasks, with our names, hooks and retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

import prefect
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from mrag_pipeline.flows.failure_hooks import tell
from mrag_pipeline.flows.retries import DELAYS_S, is_worth_another_try

P = ParamSpec("P")
R = TypeVar("R")


def flow(work: Callable[P, R], name: str) -> Callable[P, R]:
    """A flow whose runs that fail, crash or are cancelled are reported."""
    return prefect.flow(
        name=name,
        validate_parameters=True,
        on_failure=[tell],
        on_crashed=[tell],
        on_cancellation=[tell],
    )(work)


def task(work: Callable[P, R]) -> Callable[P, R]:
    """A task that runs once."""
    return prefect.task(cache_policy=NO_CACHE)(work)


def repeated_task(work: Callable[P, R]) -> Callable[P, R]:
    """A task that is tried again if the index did not answer."""
    return prefect.task(
        cache_policy=NO_CACHE,
        retries=len(DELAYS_S),
        retry_delay_seconds=list(DELAYS_S),
        retry_condition_fn=_unanswered,
    )(work)


def _unanswered(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    return is_worth_another_try(state.result(raise_on_failure=False))


def artifact(kind: str, key: str, value: Any, about: str | None = None) -> str:
    """Creates an artifact, a table, markdown or progress; returns its id."""
    if kind == "table":
        made = create_table_artifact(table=value, key=key, description=about)
    elif kind == "markdown":
        made = create_markdown_artifact(value, key=key, description=about)
    else:
        made = create_progress_artifact(progress=value, key=key, description=about)
    return str(cast(UUID, made))


def update(artifact_id: str, progress: float) -> None:
    """Moves a progress bar."""
    update_progress_artifact(artifact_id=UUID(artifact_id), progress=progress)
