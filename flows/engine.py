"""Runs flows and their tasks: by Prefect where it is installed, in plain calls where it is not.

Both run the same functions in the same order and repeat the same tasks. A run without a Prefect
server is a plain one, which `run_record.py` records in Prefect's database; without Prefect nothing
does. A plain run has no schedule; a failed one is reported to the webhook too.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pydantic import validate_call

from mrag_pipeline.flows import run_record
from mrag_pipeline.flows.failure_hooks import report
from mrag_pipeline.flows.retries import DELAYS_S, is_worth_another_try

P = ParamSpec("P")
R = TypeVar("R")

HAS_PREFECT = importlib.util.find_spec("prefect") is not None

_is_plain = not HAS_PREFECT


def run_plainly() -> None:
    """Makes flows and tasks that are defined from now on plain ones."""
    global _is_plain
    _is_plain = True


def are_prefects_own() -> bool:
    """Whether flows were defined already, as Prefect's."""
    return "mrag_pipeline.flows.by_prefect" in sys.modules


def flow(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator of a function that is a run of its own; its arguments are checked by their types.

    Args:
        name: what Prefect, logs and the webhook call its runs.
    """

    def decorate(work: Callable[P, R]) -> Callable[P, R]:
        if _is_plain:
            return plain_flow(work, name)
        from mrag_pipeline.flows import by_prefect

        return by_prefect.flow(work, name)

    return decorate


def task(work: Callable[P, R]) -> Callable[P, R]:
    """A phase of a flow that is not repeated when it fails."""
    if _is_plain:
        return plain_task(work)
    from mrag_pipeline.flows import by_prefect

    return by_prefect.task(work)


def repeated_task(work: Callable[P, R]) -> Callable[P, R]:
    """A phase that is tried again if the index did not answer."""
    if _is_plain:
        return plain_repeated_task(work)
    from mrag_pipeline.flows import by_prefect

    return by_prefect.repeated_task(work)


def plain_flow(work: Callable[P, R], name: str) -> Callable[P, R]:
    """The flow in this process; what it raises is reported, and raised unchanged.

    Raises: pydantic.ValidationError for arguments of other types.
    """
    checked = validate_call(work)

    @wraps(work)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        parameters = inspect.signature(work).bind_partial(*arguments, **named).arguments
        run_id = ""
        try:
            with _recorded_run(name, parameters) as run_id:
                return checked(*arguments, **named)
        except BaseException as error:
            end = {"state": run_record.state_of(error), "message": str(error)}
            report({"flow": name, "run": "", "run_id": run_id, **end}, parameters)
            raise

    return run


def plain_task(work: Callable[P, R]) -> Callable[P, R]:
    """The phase in this process."""

    @wraps(work)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        with _recorded_task(work.__name__):
            return work(*arguments, **named)

    return run


def plain_repeated_task(
    work: Callable[P, R], sleep: Callable[[float], object] = time.sleep
) -> Callable[P, R]:
    """The phase in this process, repeated as Prefect would."""

    @wraps(work)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        record = run_record.current()
        with _recorded_task(work.__name__):
            for delay_s in DELAYS_S:
                try:
                    return work(*arguments, **named)
                except Exception as error:
                    if not is_worth_another_try(error):
                        raise
                    if record is not None:
                        record.repeats(str(error))
                    sleep(delay_s)
                    if record is not None:
                        record.resumes()
            return work(*arguments, **named)

    return run


@contextmanager
def _recorded_run(name: str, parameters: Mapping[str, Any]) -> Iterator[str]:
    record = run_record.current()
    with nullcontext("") if record is None else record.run(name, parameters) as run_id:
        yield run_id


@contextmanager
def _recorded_task(name: str) -> Iterator[None]:
    record = run_record.current()
    with nullcontext() if record is None else record.task(name):
        yield
