"""What becomes of a record's values in metadata."""

from __future__ import annotations

import datetime
import decimal
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.corpus.column_types import column_types
from mrag_pipeline.corpus.metadata_values import MAX_DEPTH, Converted, converted
from mrag_pipeline.corpus.record import Unreadable

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", "x"),
        (2**63, str(2**63)),
        (decimal.Decimal("12.50"), 12.5),
        (decimal.Decimal("3"), 3),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        ({"name": "acme", "address": {"city": "Bern", "zip": None}},
         {"name": "acme", "address": {"city": "Bern"}}),
        (["x", 1, True, None], ["x", 1, True, None]),
    ],
)  # fmt: skip
def test_what_json_holds_is_kept(value: object, expected: object) -> None:
    """Numbers as numbers, lists and objects as they are; a null within an object is absent."""
    assert converted(value, None, 1_000) == Converted(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "kept", "remark"),
    [
        (NAN, None, "NaN or infinity: left out"),
        (decimal.Decimal("Infinity"), None, "NaN or infinity: left out"),
        ([1.0, NAN], [1.0, None], "NaN or infinity: left out"),
        ({"a": NAN, "b": 1}, {"b": 1}, "NaN or infinity: left out"),
        (b"\x00", None, "bytes: left out"),
        (1j, None, "of type complex: left out"),
        ("y" * 1_001, None, "longer than 1,000 characters: left out"),
        ([0.5] * 500, None, "longer than 1,000 characters: left out"),
        (Unreadable("a date"), None, "a date: left out"),
    ],
)
def test_what_is_left_out_is_named(value: object, kept: object, remark: str) -> None:
    """Alone or within a list or an object."""
    assert converted(value, None, 1_000) == Converted(kept, remark)  # type: ignore[arg-type]


def test_nesting_has_an_end() -> None:
    """A list in a list in a list."""
    deep: Any = "x"
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert converted(deep, None, None).remark == f"nested more than {MAX_DEPTH} deep: left out"


def test_a_named_field_has_no_limit_of_its_own() -> None:
    """Only all metadata of a document together has."""
    assert converted("y" * 5_000, None, None) == Converted("y" * 5_000)


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("number", " 2020 ", 2020),
        ("number", "1.50", 1.5),
        ("number", "-2e3", -2000.0),
        ("number", decimal.Decimal("0.1"), 0.1),
        ("boolean", "TRUE", True),
        ("boolean", False, False),
        ("date", "2024-05-01T12:00:00Z", "2024-05-01T12:00:00Z"),
        ("date", datetime.date(2024, 5, 1), "2024-05-01"),
        ("text", 7, "7"),
    ],
)
def test_a_type_that_is_set_converts(kind: Any, value: object, kept: object) -> None:
    """Also what a file holds as text."""
    assert converted(value, kind, None) == Converted(kept)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        ("number", "007", "a number"),
        ("number", "+1", "a number"),
        ("number", "1_000", "a number"),
        ("number", "٣", "a number"),
        ("number", "9" * 30, "a number"),
        ("number", "1e999", "a number"),
        ("number", True, "a number"),
        ("number", [1], "a number"),
        ("boolean", "yes", "true or false"),
        ("boolean", 1, "true or false"),
        ("date", "01/05/2024", "a date in ISO 8601"),
        ("date", "2024-02-30", "a date in ISO 8601"),
        ("text", ["x"], "a text"),
    ],
)
def test_a_value_of_another_type_is_left_out_by_name(kind: Any, value: object, name: str) -> None:
    """The document stays."""
    assert converted(value, kind, None) == Converted(None, f"not {name}: left out")


@pytest.mark.parametrize("kind", ["number", "boolean", "date", "text"])
def test_an_empty_cell_is_no_value(kind: Any) -> None:
    """And nothing to tell."""
    assert converted(" ", kind, None) == Converted(None)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.decimals() | st.dates() | st.times() | st.datetimes() | st.timedeltas() | st.uuids()
    | st.complex_numbers() | st.just(Unreadable("x")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)  # fmt: skip


@given(values, st.sampled_from([None, "number", "boolean", "date", "text"]))
def test_any_value_becomes_json_or_is_named(value: object, kind: Any) -> None:
    """Nothing raises, nothing is lost in silence, and a store can hold the rest."""
    kept = converted(value, kind, 1_000)
    json.dumps(kept.value, allow_nan=False, ensure_ascii=False).encode()
    is_empty = value is None or (kind is not None and isinstance(value, str) and not value.strip())
    assert kept.value is not None or kept.remark or is_empty


def test_a_column_is_of_a_type_if_all_its_values_are() -> None:
    """Empty cells say nothing; a leading zero makes a code of a number."""
    rows = [
        {"id": "1", "year": "2020", "price": "1.5", "zip": "3011", "flag": "true", "none": ""},
        {"id": "2", "year": "", "price": "2", "zip": "0311", "flag": "False", "none": " "},
    ]
    assert column_types(rows, without={"id"}) == {
        "year": "number",
        "price": "number",
        "flag": "boolean",
    }
    assert column_types([*rows, {"year": "n/a", "flag": "0"}], {"id"}) == {"price": "number"}
