"""Filters written in Python, and what they become on the wire."""

from __future__ import annotations

from functools import reduce
from operator import and_
from typing import Any

import pytest

from mrag_pipeline.client import Where, field
from mrag_pipeline.client.filters import wire_filter
from mrag_pipeline.errors import ConfigError

YEAR = field("metadata.year")
NAN = float("nan")
A, B, C = YEAR == 1, YEAR == 2, YEAR == 3


def wire(where: Where) -> Any:
    return where.wire.model_dump(by_alias=True, exclude_unset=True)


@pytest.mark.parametrize(
    ("where", "op", "value"),
    [
        (YEAR == 2020, "eq", 2020),
        (YEAR != 2020, "ne", 2020),
        (YEAR < 2020, "lt", 2020),
        (YEAR <= 2020, "le", 2020),
        (YEAR > 2020, "gt", 2020),
        (YEAR >= 2020, "ge", 2020),
        (2020 <= YEAR, "ge", 2020),  # noqa: SIM300 - the turned form must mean the same
        (YEAR.is_in((1, 2)), "in", [1, 2]),
        (YEAR.starts_with("20"), "prefix", "20"),
        (YEAR.exists(), "exists", None),
        (YEAR == True, "eq", True),  # noqa: E712 - true is a value of a field
        (YEAR == 1.5, "eq", 1.5),
    ],
)
def test_a_comparison_is_a_condition(where: Where, op: str, value: Any) -> None:
    """Each operator has its op; the value keeps its type."""
    assert wire(where) == {"field": "metadata.year", "op": op, "value": value}
    assert type(where.wire.value) is type(value)  # type: ignore[union-attr]


def test_filters_are_joined() -> None:
    """&, | and ~ are all, any and not."""
    assert wire((A & B) | ~C) == {
        "any": [{"all": [wire(A), wire(B)]}, {"not": wire(C)}],
    }


def test_a_chain_is_flat() -> None:
    """The filter a & b & c is one `all` of three: the service bounds the depth."""
    assert wire(A & B & C) == {"all": [wire(A), wire(B), wire(C)]}
    assert wire(A | (B | C)) == {"any": [wire(A), wire(B), wire(C)]}


def test_joining_changes_neither_side() -> None:
    """A filter can be used twice."""
    both = A & B
    before = wire(both)
    both & C, both | C, ~both
    assert wire(both) == before


def test_words_and_chains_are_refused() -> None:
    """`a and b` would quietly be b; `1 < x < 3` would quietly be x < 3."""
    with pytest.raises(TypeError, match="&"):
        bool(A and B)
    with pytest.raises(TypeError, match="&"):
        bool(1 < YEAR < 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: YEAR == None,  # noqa: E711 - what somebody may write
        lambda: YEAR == YEAR,  # type: ignore[operator]
        lambda: YEAR > NAN,
        lambda: YEAR == [1],
        lambda: YEAR.is_in("abc"),
        lambda: YEAR.is_in([[1]]),  # type: ignore[list-item]
        lambda: wire_filter({"field": "title", "op": "like", "value": "x"}),
        lambda: wire_filter("title == 'x'"),  # type: ignore[arg-type]
        lambda: field("x") == "y" * 5000,
    ],
)
def test_what_no_filter_can_hold_is_refused(make: Any) -> None:
    """The error is raised where the filter is written, not by the service."""
    with pytest.raises(ConfigError):
        make()


def test_more_than_can_be_joined_is_refused() -> None:
    """The error says how to write it."""
    most = reduce(and_, [A] * 64)
    with pytest.raises(ConfigError, match="is_in"):
        most & B


def test_plain_json_is_a_filter_too() -> None:
    """In the API's own JSON."""
    plain = {"not": {"field": "title", "op": "eq", "value": "x"}}
    assert wire(Where(wire_filter(plain))) == plain  # type: ignore[arg-type]
    assert wire_filter(A) == A.wire
    assert wire_filter(None) is None
