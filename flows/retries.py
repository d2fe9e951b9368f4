"""Which failures are worth another try of a whole phase."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from mrag_pipeline.errors import IndexUnavailable


def unanswered(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """True only if the index did not answer: the pool retries shards, the client retries calls."""
    return isinstance(state.result(raise_on_failure=False), IndexUnavailable)


AGAIN: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [5, 30],
    "retry_condition_fn": unanswered,
    "cache_policy": NO_CACHE,
}
