"""Filters as Milvus's expressions, without a Milvus."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.filters import All, AnyOf, Condition, Filter, Not
from mrag_pipeline.index.milvus.expressions import Expression, expression
from tests.support.filter_examples import field_of, filters

# Milvus's own lexer: no bare quote, backslash, carriage return or newline in a literal.
LITERAL = re.compile(r'"(?:[^"\\\r\n]|\\["\\nr])*"')
REST = re.compile(
    r"(?:[ ()\[\],]|document_id|title|metadata|chunk_id|json_contains|and|or|not in|in|true|false"
    r"|==|!=|<=|>=|<|>|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)*"
)
A, B = Condition("title", "eq", "a"), Condition("title", "eq", "b")
YEAR = Condition("metadata.year", "ge", 2020)


@given(filters, st.booleans())
def test_a_callers_text_stays_within_quotes(wanted: Filter, lite: bool) -> None:
    """Outside string literals, an expression holds only our own words, operators and numbers."""
    text = expression(wanted, lite).text
    assert REST.fullmatch(LITERAL.sub("", text)), text
    bare = LITERAL.sub("", text)
    assert bare.count("(") == bare.count(")")


@pytest.mark.parametrize(
    ("wanted", "text", "is_exact"),
    [
        (A, 'title == "a"', True),
        (Not(A), 'title != "a"', True),
        (Not(Not(A)), 'title == "a"', True),
        (All((A, B)), '(title == "a" and title == "b")', True),
        (Not(All((A, B))), '(title != "a" or title != "b")', True),
        (AnyOf((A, Condition("title", "exists"))), "", True),
        (All((A, Condition("title", "exists"))), 'title == "a"', True),
        (Condition("title", "eq", 5), "chunk_id < 0", True),
        (Not(Condition("title", "lt", 5)), "", True),
        (Condition("title", "prefix", "a%"), '(title >= "a%" and title < "a&")', True),
        (Not(Condition("title", "prefix", "a")), '(title < "a" or title >= "b")', True),
        (Condition("title", "prefix", "\U0010ffff"), 'title >= "\U0010ffff"', True),
        (Condition("title", "prefix", "\ud7ff"), 'title >= "\ud7ff" and title < "\ue000"', True),
        (Condition("document_id", "in", ("a", 1, "b")), 'document_id in ["a", "b"]', True),
        (YEAR, 'metadata["year"] >= 2020', True),
        (Not(YEAR), "", False),
        (All((A, Not(YEAR))), 'title == "a"', False),
        (AnyOf((A, Not(YEAR))), "", False),
        (Condition("metadata.a", "ne", "x"), '(metadata["a"] < "x" or metadata["a"] > "x")', True),
        (Condition("metadata.a", "ne", True), 'metadata["a"] == false', True),
        (Condition(field_of('q"k', "b"), "eq", 1), 'metadata["q\\"k"]["b"] == 1', True),
        (Condition(field_of("a", "0"), "eq", "x"), 'metadata["a"]["0"] == "x"', False),
        (
            Condition("metadata.a", "eq", 2**53),
            '(metadata["a"] >= 0 or metadata["a"] < 0)',
            False,
        ),
        (AnyOf(()), "chunk_id < 0", True),
        (All(()), "", True),
    ],
)
def test_an_expression_uses_only_what_a_server_evaluates_right(
    wanted: Filter, text: str, is_exact: bool
) -> None:
    """Only conditions are negated; the expression is wider where a server differs."""
    found = expression(wanted, lite=False)
    assert found.is_exact is is_exact
    assert found.text in (text, f"({text})")


def test_lite_gets_no_condition_on_metadata() -> None:
    """Lite treats true as 1 and is slow there, so only conditions on titles narrow its answer."""
    assert expression(YEAR, lite=True) == Expression("", False)
    assert expression(All((A, YEAR)), lite=True) == Expression('title == "a"', False)
    assert expression(AnyOf((A, YEAR)), lite=True) == Expression("", False)
    assert expression(A, lite=True) == Expression('title == "a"', True)


def test_many_conditions_are_nested_shallowly() -> None:
    """A server parses expressions nested up to about fifty levels deep."""
    text = expression(Condition("metadata.a", "in", tuple(range(256))), lite=False).text
    depth = deepest = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        deepest = max(deepest, depth)
    assert deepest == 8
    assert text.count("==") == 256
