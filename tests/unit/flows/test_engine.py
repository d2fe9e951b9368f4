"""Flows in plain calls: what Prefect does of them where it is installed, done without it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mrag_pipeline.errors import IndexBusy, IndexUnavailable, MragError, VerifyFailed
from mrag_pipeline.flows import engine
from mrag_pipeline.flows.engine import plain_flow, plain_repeated_task


def load(failures: list[MragError]) -> int:
    """Raises the failures one after the other; then 13."""
    if failures:
        raise failures.pop(0)
    return 13


def test_a_phase_is_repeated_when_the_index_does_not_answer() -> None:
    """Twice, after the pauses that Prefect makes."""
    pauses: list[float] = []
    phase = plain_repeated_task(load, pauses.append)
    assert phase([IndexUnavailable("no answer")] * 2) == 13
    assert pauses == [5.0, 30.0]


def test_repeats_are_limited() -> None:
    """After three tries the error is raised unchanged."""
    failures: list[MragError] = [IndexUnavailable(f"no answer {n}") for n in range(9)]
    with pytest.raises(IndexUnavailable, match="no answer 2"):
        plain_repeated_task(load, lambda _: None)(failures)
    assert len(failures) == 6


@pytest.mark.parametrize("kind", [VerifyFailed, IndexBusy])
def test_other_errors_are_raised_at_once(kind: type[MragError]) -> None:
    """A permanent error would repeat; a busy index needs a decision by its user."""
    failures: list[MragError] = [kind("no")] * 9
    with pytest.raises(kind):
        plain_repeated_task(load, lambda _: None)(failures)
    assert len(failures) == 8


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a failed run reports, in place of a log line and a webhook."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(engine, "report", lambda *facts: calls.append(facts))
    return calls


def sync(config_file: str | None, settings: dict[str, Any], limit: int = 0) -> int:
    """A flow that stops at its limit."""
    if limit == 1:
        raise VerifyFailed("the disk is full")
    if limit == 2:
        raise KeyboardInterrupt
    return len(settings)


@pytest.mark.parametrize(
    ("limit", "error", "state"),
    [(1, VerifyFailed, "Failed"), (2, KeyboardInterrupt, "Crashed")],
)
def test_a_run_that_ends_by_an_error_is_reported(
    reported: list[tuple[Any, ...]], limit: int, error: type[BaseException], state: str
) -> None:
    """With its arguments, which say where the webhook is; the error is raised unchanged."""
    with pytest.raises(error):
        plain_flow(sync, "mrag-sync")("mrag.toml", settings={"index": "a"}, limit=limit)
    [(facts, parameters)] = reported
    assert (facts["flow"], facts["state"]) == ("mrag-sync", state)
    assert parameters["config_file"] == "mrag.toml"
    assert parameters["settings"] == {"index": "a"}


def test_a_run_that_succeeds_is_not_reported(reported: list[tuple[Any, ...]]) -> None:
    """Its result is the function's."""
    assert plain_flow(sync, "mrag-sync")(None, {"a": 1}) == 1
    assert reported == []


def test_arguments_of_other_types_are_refused(reported: list[tuple[Any, ...]]) -> None:
    """As Prefect refuses them."""
    run: Any = plain_flow(sync, "mrag-sync")
    with pytest.raises(ValidationError):
        run(None, "not a dict")
    assert len(reported) == 1
