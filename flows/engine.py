"""Runs flows and their tasks: by Prefect where it is installed, in plain calls where it is not.

Both run the same functions in the same order and repeat the same tasks. A plain run has no page in
the Prefect UI, no artifacts and no schedule; a failed one is reported to the webhook too.
"""

from __future__ import annotations

import importlib.util
import inspect
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from pydantic import validate_call

from mrag_pipeline.flows.failure_hooks import report
from mrag_pipeline.flows.retries import DELAYS_S, is_worth_another_try

P = ParamSpec("P")
R = TypeVar("R")

HAS_PREFECT = importlib.util.find_spec("prefect") is not None


def flow(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator of a function that is a run of its own; its arguments are checked by their types.

    Args:
        name: what Prefect, logs and the webhook call its runs.
    """

    def decorate(work: Callable[P, R]) -> Callable[P, R]:
        if HAS_PREFECT:
            from mrag_pipeline.flows import by_prefect

            return by_prefect.flow(work, name)
        return plain_flow(work, name)

    return decorate


def task(work: Callable[P, R]) -> Callable[P, R]:
    """A phase of a flow that is not repeated when it fails."""
    if HAS_PREFECT:
        from mrag_pipeline.flows import by_prefect

        return by_prefect.task(work)
    return work


def repeated_task(work: Callable[P, R]) -> Callable[P, R]:
    """A phase that is tried again if the index did not answer."""
    if HAS_PREFECT:
        from mrag_pipeline.flows import by_prefect

        return by_prefect.repeated_task(work)
    return plain_repeated_task(work)


def plain_flow(work: Callable[P, R], name: str) -> Callable[P, R]:
    """The flow in this process; what it raises is reported, and raised unchanged.

    Raises: pydantic.ValidationError for arguments of other types.
    """
    checked = validate_call(work)

    @wraps(work)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return checked(*arguments, **named)
        except BaseException as error:
            state = "Failed" if isinstance(error, Exception) else "Crashed"
            facts = {"flow": name, "run": "", "run_id": "", "state": state, "message": str(error)}
            report(facts, inspect.signature(work).bind_partial(*arguments, **named).arguments)
            raise

    return run


def plain_repeated_task(
    work: Callable[P, R], sleep: Callable[[float], object] = time.sleep
) -> Callable[P, R]:
    """The phase in this process, repeated as Prefect would."""

    @wraps(work)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        for delay_s in DELAYS_S:
            try:
                return work(*arguments, **named)
            except Exception as error:
                if not is_worth_another_try(error):
                    raise
                sleep(delay_s)
        return work(*arguments, **named)

    return run
