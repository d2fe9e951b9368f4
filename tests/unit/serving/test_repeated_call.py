"""A call that is made again and again."""

from __future__ import annotations

import threading

import pytest

from mrag_pipeline.serving.repeated_call import RepeatedCall


def test_an_error_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the call is made again until it is closed."""
    calls: list[int] = []
    enough = threading.Event()

    def fail() -> None:
        calls.append(1)
        if len(calls) == 3:
            enough.set()
        raise RuntimeError("unforeseen")

    repeated = RepeatedCall(fail, 0.001, "again")
    assert enough.wait(20.0)
    repeated.close()
    assert all(thread.name != "again" for thread in threading.enumerate())
    assert "unforeseen" in caplog.text
