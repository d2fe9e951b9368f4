"""Answers come in the plan's order, whoever was faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import pytest

from mrag_pipeline.stages.in_order import in_order


@pytest.mark.parametrize("arrived", list(permutations(range(4))))
def test_answers_are_in_order_however_they_arrive(arrived: Sequence[int]) -> None:
    """Each once."""
    assert list(in_order(arrived, lambda answer: answer)) == [0, 1, 2, 3]


def test_an_answer_does_not_wait_for_later_ones() -> None:
    """The first is given before the second is asked for."""
    asked: list[int] = []

    def answers() -> Iterator[int]:
        for number in range(3):
            asked.append(number)
            yield number

    ordered = in_order(answers(), lambda answer: answer)
    assert next(ordered) == 0
    assert asked == [0]


def test_a_number_without_an_answer_loses_none_in_silence() -> None:
    """Those after the gap have come, and nobody would see them."""
    ordered = in_order([0, 2, 3], lambda answer: answer)
    assert next(ordered) == 0
    with pytest.raises(AssertionError, match=r"item 1 has no answer.*: 2 lost"):
        next(ordered)
