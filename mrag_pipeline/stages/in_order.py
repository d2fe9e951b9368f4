"""Answers in the plan's order, whoever was faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Answer = TypeVar("Answer")


def in_order(answers: Iterable[Answer], index: Callable[[Answer], int]) -> Iterator[Answer]:
    """The answers by their items' numbers, from 0 on; those that came before their turn wait.

    Raises: AssertionError if a number has no answer, or two: others would be lost.
    """
    early: dict[int, Answer] = {}
    turn = 0
    for answer in answers:
        early[index(answer)] = answer
        while turn in early:
            yield early.pop(turn)
            turn += 1
    assert not early, f"item {turn} has no answer, or one has two: {len(early)} lost"
