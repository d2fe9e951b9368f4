"""Which errors make Prefect run a phase again; it retries nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.errors import IndexBusy, IndexUnavailable, MragError, VerifyFailed
from mrag_pipeline.flows import ingest


@pytest.fixture(scope="module", autouse=True)
def _reported(prefect: str) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: prefect}):
        yield


class Closable:
    def close(self) -> None:
        """Nothing is open."""

    def capabilities(self) -> SimpleNamespace:
        """Those of an index that one process owns."""
        return SimpleNamespace(is_shared=False, loads_at_once=1)


def calls_until(
    monkeypatch: pytest.MonkeyPatch, errors: list[MragError]
) -> tuple[int, int | MragError]:
    """How often the load phase ran with these failures, and its result or error."""
    remaining, calls = list(errors), []

    def scripted(*_: Any) -> int:
        calls.append(1)
        if remaining:
            raise remaining.pop(0)
        return 13

    monkeypatch.setattr(wiring, "index", lambda _: Closable())
    monkeypatch.setattr(ingest, "_manifest", lambda *_: None)
    monkeypatch.setattr(ingest, "load_stage", scripted)
    load = cast(Any, ingest.load).with_options(retry_delay_seconds=0)

    @flow
    def one_phase() -> int:
        return load(Config.parse({}), "v000000000000", 1)

    try:
        result = one_phase()
    except MragError as error:
        return len(calls), error
    return len(calls), result


def test_a_phase_is_retried_when_the_index_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two failures, then success."""
    assert calls_until(monkeypatch, [IndexUnavailable("no answer")] * 2) == (3, 13)


def test_retries_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """After three attempts the flow raises the error unchanged."""
    calls, error = calls_until(monkeypatch, [IndexUnavailable("no answer")] * 9)
    assert calls == 3
    assert isinstance(error, IndexUnavailable)
    assert error.found == "no answer"


@pytest.mark.parametrize("kind", [VerifyFailed, IndexBusy])
def test_other_errors_are_raised_at_once(
    monkeypatch: pytest.MonkeyPatch, kind: type[MragError]
) -> None:
    """A permanent error would repeat; a busy index needs a decision by its user."""
    calls, error = calls_until(monkeypatch, [kind("no")] * 9)
    assert calls == 1
    assert isinstance(error, kind)
