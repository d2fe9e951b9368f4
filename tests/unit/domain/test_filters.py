"""What a filter matches, and which filters are refused as invalid."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mrag_pipeline.domain.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    All,
    AnyOf,
    Condition,
    Not,
    matches,
    parse,
)
from mrag_pipeline.errors import ConfigError
from tests.support.filter_examples import filters, metadata, texts


@dataclass
class Row:
    metadata: Mapping[str, Any] = field(default_factory=dict)
    document_id: str = "doc"
    title: str = "A Title"


def holds(name: str, op: str, value: Any = None, **metadata: Any) -> bool:
    return matches(parse({"field": name, "op": op, "value": value}), Row(metadata))


# ------------------------------------------------------------------ meaning
@pytest.mark.parametrize(
    ("op", "value", "stored", "expected"),
    [
        ("eq", 1, 1, True),
        ("eq", 1, 1.0, True),
        ("eq", 1, True, False),
        ("eq", True, 1, False),
        ("eq", "1", 1, False),
        ("ne", 1, 2, True),
        ("ne", 1, 1.0, False),
        ("ne", 1, "2", False),
        ("ne", True, False, True),
        ("ne", True, 0, False),
        ("lt", 2, 1.5, True),
        ("lt", "b", "a", True),
        ("lt", "b", 1, False),
        ("lt", 1, False, False),
        ("le", 2, 2.0, True),
        ("gt", 2**53, 2**53 + 1, True),
        ("gt", float(2**53), 2**53 + 1, True),
        ("ge", "Z", "a", True),
        ("gt", "\ue000", "𝄞", True),
        ("in", [1, "x"], "x", True),
        ("in", [1, "x"], 1.0, True),
        ("in", [1, "x"], True, False),
        ("in", [], 1, False),
        ("prefix", "ab", "abc", True),
        ("prefix", "a%", "abc", False),
        ("prefix", "", "", True),
        ("prefix", "1", 1, False),
        ("exists", None, False, True),
        ("exists", None, "", True),
        ("exists", None, None, False),
        ("exists", None, {"x": 1}, False),
        ("exists", None, [1], False),
        ("eq", 1, [1], False),
        ("ne", 1, [1], False),
        ("ne", 1, float("nan"), False),
    ],
)
def test_a_condition_compares_like_with_like(
    op: str, value: Any, stored: Any, expected: bool
) -> None:
    """Strings by code point, numbers by value, booleans with booleans; other values never match."""
    assert holds("metadata.key", op, value, key=stored) is expected


@pytest.mark.parametrize("op", ["eq", "ne", "lt", "le", "gt", "ge", "prefix", "exists"])
def test_a_missing_field_matches_no_condition(op: str) -> None:
    """Not even `ne`; the negation of each condition matches."""
    plain = {"field": "metadata.key", "op": op, **({} if op == "exists" else {"value": "x"})}
    assert not matches(parse(plain), Row())
    assert matches(parse({"not": plain}), Row())


def test_fields_are_found() -> None:
    """Document fields, metadata keys, nested keys, and keys with dots."""
    assert holds("document_id", "eq", "doc")
    assert holds("title", "prefix", "A ")
    assert holds("metadata.a", "eq", 1, a=1)
    assert holds("metadata.a.b", "eq", 1, a={"b": 1})
    assert not holds("metadata.a.b", "eq", 1, **{"a.b": 1})
    assert holds(r"metadata.a\.b", "eq", 1, **{"a.b": 1})
    assert holds(r"metadata.a\\", "eq", 1, **{"a\\": 1})
    assert holds("metadata.title", "eq", "x", title="x")
    assert not holds("metadata.a.0", "eq", 1, a=[1])


def test_all_any_and_not_are_pythons_operators() -> None:
    """`all` of nothing is true, `any` of nothing is false."""
    yes = Condition("title", "exists")
    no = Not(yes)
    row = Row()
    assert matches(All((yes, yes)), row)
    assert not matches(All((yes, no)), row)
    assert matches(AnyOf((no, yes)), row)
    assert not matches(AnyOf((no, no)), row)
    assert matches(All(()), row)
    assert not matches(AnyOf(()), row)


@given(filters, metadata, texts)
def test_not_is_plain_negation(wanted: Any, stored: dict[str, Any], title: str) -> None:
    """And de Morgan holds, so an index may push it down."""
    row = Row(stored, title=title)
    assert matches(Not(wanted), row) is not matches(wanted, row)
    assert matches(Not(All((wanted, wanted))), row) is matches(
        AnyOf((Not(wanted), Not(wanted))), row
    )


@given(filters)
def test_a_filter_survives_pickling(wanted: Any) -> None:
    """Filters cross processes; True stays True, 1.0 stays 1.0."""
    assert repr(pickle.loads(pickle.dumps(wanted))) == repr(wanted)


# ------------------------------------------------------------------ invalid filters
@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ([], r"filter is \[\]"),
        ({}, "no field or no op"),
        ({"field": "title"}, "no field or no op"),
        ({"field": "title", "op": "eq", "value": "x", "or": 1}, "filter has or"),
        ({"all": [], "any": []}, "filter has all, any"),
        ({"all": []}, r"filter.all is \[\]"),
        ({"any": {"field": "title"}}, "filter.any is"),
        ({"any": [{"not": {"field": "titel", "op": "eq", "value": "x"}}]}, r"filter.any\[0\].not:"),
        ({"field": "year", "op": "eq", "value": 1}, "did you mean `metadata.year`"),
        ({"field": "metadata", "op": "eq", "value": 1}, "the field 'metadata'"),
        ({"field": "metadata.", "op": "eq", "value": 1}, "the field"),
        ({"field": "metadata.a..b", "op": "eq", "value": 1}, "the field"),
        ({"field": "metadata.a\\x", "op": "eq", "value": 1}, "the field"),
        ({"field": "metadata.a\ud800", "op": "eq", "value": 1}, "surrogate"),
        ({"field": "chunk_id", "op": "eq", "value": 1}, "the field 'chunk_id'"),
        ({"field": 5, "op": "eq", "value": 1}, "the field 5"),
        ({"field": "title", "op": "equals", "value": "x"}, "did you mean `eq`|one of eq"),
        ({"field": "title", "op": ["eq"], "value": "x"}, "the op"),
        ({"field": "title", "op": "eq"}, "the value None"),
        ({"field": "title", "op": "eq", "value": {"a": 1}}, "the value"),
        ({"field": "title", "op": "eq", "value": ["a"]}, "eq with a list"),
        ({"field": "title", "op": "in", "value": "a"}, "in with 'a'"),
        ({"field": "title", "op": "in", "value": [["a"]]}, "the value"),
        ({"field": "title", "op": "in", "value": ["a"] * 257}, "257 values"),
        ({"field": "title", "op": "prefix", "value": 1}, "prefix with 1"),
        ({"field": "title", "op": "exists", "value": True}, "exists with"),
        ({"field": "metadata.a", "op": "lt", "value": True}, "lt with True"),
        ({"field": "metadata.a", "op": "eq", "value": 2**63}, "64 bits"),
        ({"field": "metadata.a", "op": "eq", "value": 10**5000}, "bits"),
        ({"field": "metadata.a", "op": "eq", "value": float("inf")}, "finite"),
        ({"field": "title", "op": "eq", "value": "x\udfff"}, "surrogate"),
        ({"field": "title", "op": "eq", "value": "x" * 4097}, "4097 characters"),
    ],
)
def test_an_invalid_filter_is_refused_in_words(plain: Any, message: str) -> None:
    """The error says where, what was found, and what was expected."""
    with pytest.raises(ConfigError, match=message) as refused:
        parse(plain)
    assert refused.value.expected


def test_a_filter_has_bounds() -> None:
    """On depth and on the number of conditions, so that a server can run it."""
    leaf = {"field": "title", "op": "exists"}
    deep: Any = leaf
    for _ in range(MAX_DEPTH - 1):
        deep = {"not": deep}
    parse(deep)
    with pytest.raises(ConfigError, match="9 levels"):
        parse({"not": deep})
    parse({"all": [leaf] * MAX_CONDITIONS})
    with pytest.raises(ConfigError, match="too many conditions"):
        parse({"any": [{"all": [leaf] * 32}, {"all": [leaf] * 33}]})


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["field", "op", "value", "all", "any", "not", "x"]), inner, max_size=3
        )
    ),
)


@given(json | st.fixed_dictionaries({"field": json, "op": json, "value": json}))
@example({"not": {"not": {"all": None}}})
def test_any_json_is_a_filter_or_a_config_error(plain: Any) -> None:
    """No JSON that a caller sends raises another error."""
    try:
        wanted = parse(plain)
    except ConfigError:
        return
    assert matches(wanted, Row()) in (True, False)
