"""Answers in order, asked for ahead of time, a bounded number at once."""

from __future__ import annotations

import time
from threading import Lock

import pytest

from mrag_pipeline.stages.ingest.read_ahead import read_ahead


def test_answers_come_in_order_whatever_their_time() -> None:
    """The first is slow; it comes first all the same."""
    found = list(read_ahead(lambda n: (time.sleep(0.05 if n == 0 else 0), n)[1], range(40), 4))
    assert found == list(range(40))
    assert list(read_ahead(str, [], 4)) == []


def test_waits_overlap_and_no_more_are_asked_than_threads() -> None:
    """Some at once, never more than said: what they hold is in memory."""
    lock, now, most = Lock(), 0, 0

    def ask(number: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return number

    assert list(read_ahead(ask, range(24), 6)) == list(range(24))
    assert 1 < most <= 6


def test_an_answer_that_nobody_takes_is_asked_for_only_so_far_ahead() -> None:
    """A slow taker holds the asking back."""
    asked: list[int] = []
    answers = read_ahead(lambda n: (asked.append(n), n)[1], range(100), 5)
    assert next(answers) == 0
    time.sleep(0.05)
    assert len(asked) <= 6
    answers.close()  # type: ignore[attr-defined]


def test_the_first_error_ends_it() -> None:
    """It is raised as it is, at its place in the order; the rest is never asked."""
    asked: list[int] = []

    def ask(number: int) -> int:
        asked.append(number)
        if number == 3:
            raise ValueError("the fourth")
        return number

    answers = read_ahead(ask, range(1_000), 2)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(answers)
    assert len(asked) < 10
