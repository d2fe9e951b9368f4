"""What a version has on an aspect, by what it finds by chance."""

from __future__ import annotations

import numpy as np
import pytest

from mrag_pipeline.domain.unrelated import UNRELATED
from mrag_pipeline.domain.verdicts import BY_CHANCE, Levels, levels_in, levels_of


def test_two_of_a_hundred_may_come_nearer_by_chance() -> None:
    """`weak` is where 98 of 100 are below; `found` half as far again from the median."""
    by_chance = np.linspace(0.0, 1.0, 101)
    levels = levels_of(by_chance.tolist())
    assert levels.weak == pytest.approx(0.98)
    assert levels.found == pytest.approx(0.5 + 1.5 * (0.98 - 0.5))


def test_a_corpus_on_one_of_the_subjects_does_not_move_the_levels() -> None:
    """One question that hits home is among the two that are not counted."""
    usual = [0.2 + 0.001 * number for number in range(99)]
    assert levels_of([*usual, 0.9]).weak == pytest.approx(levels_of([*usual, 0.3]).weak, abs=0.002)


@pytest.mark.parametrize(
    ("nearness", "verdict"),
    [(0.29, "nothing here"), (0.3, "weak"), (0.39, "weak"), (0.4, "found"), (1.0, "found")],
)
def test_a_level_belongs_to_the_verdict_above_it(nearness: float, verdict: str) -> None:
    """From `weak` on there is something, from `found` on it is found."""
    assert Levels(weak=0.3, found=0.4).verdict(nearness) == verdict


@pytest.mark.parametrize(
    "config", [{}, {BY_CHANCE: None}, {BY_CHANCE: {}}, {BY_CHANCE: {"cosines": []}}]
)
def test_a_version_built_without_them_has_no_levels(config: dict[str, object]) -> None:
    """So its answers have no verdicts."""
    assert levels_in(config) is None


def test_levels_are_those_of_what_the_record_keeps() -> None:
    """The cosines are kept, not the levels: how levels are drawn may change without a build."""
    cosines = [0.1, 0.2, 0.3]
    assert levels_in({BY_CHANCE: {"cosines": cosines}}) == levels_of(cosines)


def test_the_unrelated_questions_are_a_hundred_different_ones() -> None:
    """`levels_of` counts shares of them."""
    assert len(set(UNRELATED)) == 100
