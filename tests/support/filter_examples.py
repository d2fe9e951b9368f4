"""Hostile metadata and filters over it, for hypothesis; small pools, so that they meet."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import strategies as st

from mrag_pipeline.domain.filters import All, AnyOf, Condition, Filter, Not, Op

KEYS = [
    "a",
    "b",
    "a.b",
    "q\"k'",
    "k[0]",
    "back\\s",
    "a\nb",
    "ünï 𝄞",
    "0",
    "-",
    "/~",
    "%_",
    " ",
    "$m",
]
TEXTS = [
    *("", "a", "ab", "ab%", "ab_", "abc", "b", "A", "1", "true", "null", "\\", '"', "'", '\\"'),
    *("new\nline", "\r", "tab\t", "\x00", "a\x00b", "ü", "u\u0308", "文", "𝄞", "\ud7ff", "\ue000"),
    *("\U0010ffff", "a\U0010ffff", "\U0010ffff\U0010ffff", " ", "a ", "\u2028", "\x7f", "%", "_"),
    *('" or chunk_id >= 0 or title == "', '"] or metadata["a"] != "', "x' or 1 == 1 --", "{x}"),
]
DATES = [
    *("2024-05-01", "2024-05-01T00:00:00", "2024-05-01T00:00:00Z", "2024-05-01T12:30:00.5+02:00"),
    *("2024-04-30T23:30:00-02:00", "2024-05-02", "2024-05-01T00:00", "2024-05-01 00:00:00"),
    *("0001-01-01", "9999-12-31T23:59:59-12:00", "2024-13-01", "2024-05-01x", "2024-05"),
]
LISTS: list[Any] = [[], ["a"], ["a", 1, "ab%"], [1.0, True], ["1", None], [["a"]], ['"', "\\"]]
NUMBERS = [
    *(0, 1, -1, 2, 10, 0.0, -0.0, 1.0, 0.5, -2.5, 0.1, 1e-7, 5e-324, 1e22, -1e300, 1.5e300),
    *(2**53 - 1, 2**53, 2**53 + 1, float(2**53), -(2**53) - 1, 2**63 - 1, -(2**63), 2**62 + 1),
]

texts = st.sampled_from([*TEXTS, *DATES]) | st.text(max_size=4)
scalars = texts | st.booleans() | st.sampled_from(NUMBERS)
metadata = st.dictionaries(st.sampled_from(KEYS), scalars, max_size=4)


def field_of(*keys: str) -> str:
    """The field that names these keys."""
    return ".".join(["metadata", *(key.replace("\\", "\\\\").replace(".", "\\.") for key in keys)])


fields = (
    st.sampled_from(["document_id", "title", field_of("missing"), field_of("a", "b")])
    | st.sampled_from(KEYS).map(field_of)
    | st.sampled_from(KEYS).map(field_of)
)


@st.composite
def conditions(draw: Any) -> Condition:
    field = draw(fields)
    op = draw(st.sampled_from(get_args(Op)))
    if op == "exists":
        return Condition(field, op)
    if op == "in":
        return Condition(field, op, tuple(draw(st.lists(scalars, max_size=5))))
    if op == "prefix":
        return Condition(field, op, draw(texts))
    value = draw(
        scalars
        if op in ("eq", "ne", "contains")
        else scalars.filter(lambda v: not isinstance(v, bool))
    )
    return Condition(field, op, value)


filters: st.SearchStrategy[Filter] = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=6,
)
