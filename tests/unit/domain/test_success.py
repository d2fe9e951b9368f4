from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet
from mrag_pipeline.domain.success import Resamples, Success, success, unique

CATEGORIES = {"lion": "animals", "cat": "animals", "oak": "trees", "rome": "cities"}


def query(*aspects: Aspect, named: int = 0) -> LabelledQuery:
    return LabelledQuery("?", aspects, named or len(aspects))


def aspect(*documents: str, category: str = "") -> Aspect:
    return Aspect(frozenset(documents), documents[0], category)


def over(*queries: LabelledQuery) -> LabelledSet:
    return LabelledSet("set", queries, "any", CATEGORIES)


ZOO = query(aspect("lion", category="animals"), aspect("oak", category="trees"))


def test_success_is_the_share_of_the_aspects_fetched() -> None:
    """One of two aspects found is a half, and not all."""
    assert success(ZOO, ["lion", "rome"], over(ZOO)) == Success(0.5, 0.5, 0.0)


def test_another_document_of_the_category_counts_for_the_category_only() -> None:
    """The cat is not the lion, but it is an animal."""
    assert success(ZOO, ["cat", "oak"], over(ZOO)) == Success(0.5, 1.0, 0.0)


def test_everything_found_is_one() -> None:
    """Order and further documents do not matter."""
    assert success(ZOO, ["rome", "oak", "lion"], over(ZOO)) == Success(1.0, 1.0, 1.0)


def test_any_document_of_an_aspect_is_enough_and_a_second_adds_nothing() -> None:
    """By topic: ten documents of one topic are one aspect."""
    both = query(aspect("lion", "cat"), aspect("oak"))
    assert success(both, ["lion", "cat"], over(both)).ratio == 0.5


def test_two_aspects_of_one_category_are_one_category() -> None:
    """The category ratio is over distinct categories, as the paper counts."""
    both = query(aspect("lion", category="animals"), aspect("cat", category="animals"))
    assert success(both, ["lion"], over(both)) == Success(0.5, 1.0, 0.0)


def test_an_unknown_category_gives_no_category_figure() -> None:
    """The ratio is NaN where categories are unknown."""
    unknown = query(aspect("lion"))
    assert math.isnan(success(unknown, ["lion"], over(unknown)).category_ratio)


def test_unique_keeps_the_first_position() -> None:
    """A document's best passage decides its rank."""
    assert unique(["a", "b", "a", "c", "b"]) == ["a", "b", "c"]


def test_each_group_counts_the_same_in_the_mean() -> None:
    """Three queries of one aspect weigh as much as one of two."""
    values = np.array([[1.0], [1.0], [0.0], [0.0]])
    [mean] = Resamples(np.array([1, 1, 1, 2])).means(values)
    assert mean == pytest.approx((2 / 3 + 0) / 2)


def test_a_constant_has_no_width() -> None:
    """Resampling equal values gives the same value."""
    [interval] = Resamples(np.array([1, 1, 2, 2])).intervals(np.full((4, 1), 0.7), 200)
    assert (interval.low, interval.value, interval.high) == pytest.approx((0.7, 0.7, 0.7))


def test_the_interval_of_fair_coin_tosses() -> None:
    """100 fair tosses: about a half, give or take 1.96 x 0.05."""
    values = np.array([[1.0], [0.0]] * 50)
    [interval] = Resamples(np.ones(100, np.int64)).intervals(values)
    assert interval.value == 0.5
    assert interval.low == pytest.approx(0.5 - 0.098, abs=0.015)
    assert interval.high == pytest.approx(0.5 + 0.098, abs=0.015)


def test_a_difference_is_paired() -> None:
    """A strategy better by 0.1 on every query is clearly better, however the queries differ."""
    random = np.random.default_rng(1)
    base = random.random(50)
    [gap] = Resamples(np.ones(50, np.int64)).intervals((base + 0.1 - base)[:, None])
    assert (gap.low, gap.high) == pytest.approx((0.1, 0.1))


def test_the_same_values_give_the_same_interval_every_time() -> None:
    """The random draws are fixed: a report can be reproduced exactly."""
    values = np.random.default_rng(2).random((30, 2))
    groups = np.arange(30) % 3
    assert Resamples(groups).intervals(values, 700) == Resamples(groups).intervals(values, 700)


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0, 1)), min_size=1, max_size=30))
def test_an_interval_never_leaves_the_values_range(pairs: list[tuple[int, float]]) -> None:
    """Low, mean and high lie between the smallest and the largest value."""
    groups = np.array([group for group, _ in pairs])
    values = np.array([[value] for _, value in pairs])
    [interval] = Resamples(groups).intervals(values, 50)
    low, high = values.min() - 1e-9, values.max() + 1e-9
    assert low <= interval.low <= interval.high <= high
    assert low <= interval.value <= high
