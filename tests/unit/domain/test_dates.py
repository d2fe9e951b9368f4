"""Dates in ISO 8601, compared as moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.dates import around, compared, moment

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01T12:00:00Z",
        "2024-05-01T12:00:00",
        "2024-05-01 12:00",
        "2024-05-01t12:00:00.000000000z",
        "2024-05-01T14:00:00+02:00",
        "2024-05-01T14:00:00,0+0200",
    ],
)
def test_one_moment_is_written_in_many_ways(text: str) -> None:
    """With an offset, with Z, without one."""
    assert moment(text) == NOON


@pytest.mark.parametrize(
    "text",
    ["", "x", "2024", "2024-05", "20240501", "2024-13-01", "2024-05-01T25:00", "2024-05-01x",
     "12024-05-01", "2024-W18-3", "٢٠٢٤-05-01", "0000-01-01", "2024-05-01T12:00:00+25:00"],
)  # fmt: skip
def test_other_texts_are_no_dates(text: str) -> None:
    """Nothing is guessed."""
    assert moment(text) is None
    assert compared(text, "2024-05-01") is None


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        ("2024-05-01", "2024-05-02", -1),
        ("2024-05-01", "2024-05-01T12:00:00Z", 0),
        ("2024-05-01T23:30:00-02:00", "2024-05-02", 0),
        ("2024-05-01T12:00:00Z", "2024-05-01T13:00:00+02:00", 1),
    ],
)
def test_dates_compare_as_moments_and_days_as_days(left: str, right: str, order: int) -> None:
    """Where one is a day, the other's day counts, in UTC."""
    assert compared(left, right) == order
    assert compared(right, left) == -order


moments = st.datetimes(
    min_value=datetime(1, 1, 5),
    max_value=datetime(9999, 12, 25),
    timezones=st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)


@given(moments, moments)
def test_the_bounds_hold_what_compares_as_equal_or_beyond(left: datetime, right: datetime) -> None:
    """So that a store that compares texts returns every date that matches, and then some."""
    date, stored = left.isoformat(), right.isoformat()
    bounds = around(date)
    assert bounds is not None
    order = compared(stored, date)
    assert order is not None
    assert order < 0 or stored > bounds[0]
    assert order > 0 or stored < bounds[1]


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31", "no date"])
def test_there_are_no_bounds_at_the_end_of_the_years(text: str) -> None:
    """Nor of other texts."""
    assert around(text) is None
