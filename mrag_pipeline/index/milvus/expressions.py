"""Filters as Milvus's expressions: every text quoted, nothing a caller sent is pasted in.

An expression never leaves out a row that matches. Where a backend cannot say a condition as
`filters.matches` means it, the expression is wider and says so: the rest is done in Python.
- Milvus Lite takes true for 1, and for a condition on metadata reads every row with its vector:
  it is asked about document_id and title alone.
- Servers compare a double with an integer as doubles: wrong from 2^53 on.
- What `not` makes of a missing JSON key differs from server to server, so a negated condition on
  metadata is never left to one. `ne` is: smaller or greater.
- `like` has wildcards that cannot be escaped everywhere: a prefix is a range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrag_pipeline.domain.filters import All, AnyOf, Condition, Filter, Not, Op, Scalar, field_path
from mrag_pipeline.index.milvus.schema import quoted

_EXACT_NUMBERS = 2**53  # doubles hold every integer below it
_SIGNS: dict[Op, str] = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_NEGATED: dict[Op, Op] = {
    "eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expression:
    """What is asked of Milvus."""

    text: str  # empty: every row
    is_exact: bool  # else some rows may be in it that do not match


_ALL = Expression("", True)
_PERHAPS_ALL = Expression("", False)
_NONE = Expression("chunk_id < 0", True)  # ids are positive


def expression(wanted: Filter, lite: bool) -> Expression:
    """The filter as an expression for Milvus Lite, or for a server."""
    return _of(wanted, negated=False, lite=lite)


def ids_in(ids: Sequence[int]) -> str:
    """An expression for these ids."""
    return f"chunk_id in [{', '.join(str(int(one)) for one in ids)}]"


def both(left: str, right: str) -> str:
    """An expression for the rows of both; an empty one is every row."""
    return f"({left}) and ({right})" if left and right else left or right


def _of(wanted: Filter, negated: bool, lite: bool) -> Expression:
    """Negation goes down to the conditions: of `not` itself only theirs is left."""
    if isinstance(wanted, Not):
        return _of(wanted.filter, not negated, lite)
    if isinstance(wanted, All | AnyOf):
        parts = [_of(one, negated, lite) for one in wanted.filters]
        return _every(parts) if isinstance(wanted, All) != negated else _some(parts)
    path = field_path(wanted.field)
    if not path:
        return _text_field(wanted, negated)
    return _PERHAPS_ALL if negated or lite else _json_field(wanted, path)


def _every(parts: Sequence[Expression]) -> Expression:
    if _NONE in parts:
        return _NONE
    texts = [part.text for part in parts if part.text]
    return Expression(_joined(texts, "and"), all(part.is_exact for part in parts))


def _some(parts: Sequence[Expression]) -> Expression:
    if _ALL in parts:
        return _ALL
    parts = [part for part in parts if part != _NONE]
    if not parts:
        return _NONE
    if any(not part.text for part in parts):
        return _PERHAPS_ALL
    texts = [part.text for part in parts]
    return Expression(_joined(texts, "or"), all(part.is_exact for part in parts))


def _joined(texts: Sequence[str], word: str) -> str:
    """Halves of halves: a server reads a chain as deep as it is long, and has a limit."""
    if len(texts) < 2:
        return "".join(texts)
    middle = len(texts) // 2
    return f"({_joined(texts[:middle], word)} {word} {_joined(texts[middle:], word)})"


def _text_field(condition: Condition, negated: bool) -> Expression:
    """Of document_id or title, which every row has."""
    field, op, value = condition.field, condition.op, condition.value
    none, every = (_ALL, _NONE) if negated else (_NONE, _ALL)
    if op == "exists":
        return every
    if isinstance(value, tuple):
        texts = [one for one in value if isinstance(one, str)]
        if not texts:
            return none
        sign = "not in" if negated else "in"
        return Expression(f"{field} {sign} [{', '.join(map(quoted, texts))}]", True)
    if not isinstance(value, str):
        return none
    if op == "prefix":
        after = _after(value)
        texts = [f"{field} {'<' if negated else '>='} {quoted(value)}"]
        if after:
            texts.append(f"{field} {'>=' if negated else '<'} {quoted(after)}")
        return Expression(_joined(texts, "or" if negated else "and"), True)
    sign = _SIGNS[_NEGATED[op] if negated else op]
    return Expression(f"{field} {sign} {quoted(value)}", True)


def _json_field(condition: Condition, path: Sequence[str]) -> Expression:
    # An empty key cannot be said; a server takes a number for a place in a list.
    if "" in path:
        return _PERHAPS_ALL
    field = "metadata" + "".join(f"[{quoted(key)}]" for key in path)
    is_exact = not any(key.isdigit() for key in path[1:])
    op, value = condition.op, condition.value
    if op == "exists":
        parts = [_a_text(field), _a_number(field), _a_boolean(field)]
    elif isinstance(value, tuple):
        parts = [_compared(field, "eq", one) for one in value]
    else:
        assert value is not None
        parts = [_compared(field, op, value)]
    found = _some(parts)
    return Expression(found.text, found.is_exact and is_exact)


def _compared(field: str, op: Op, value: Scalar) -> Expression:
    if isinstance(value, bool):
        wanted = value if op == "eq" else not value
        return Expression(f"{field} == {str(wanted).lower()}", True)
    if isinstance(value, str):
        if op == "prefix":
            after = _after(value)
            texts = [f"{field} >= {quoted(value)}"]
            texts += [f"{field} < {quoted(after)}"] if after else []
            return Expression(_joined(texts, "and"), True)
        literal = quoted(value)
    elif abs(value) >= _EXACT_NUMBERS:
        return Expression(_a_number(field).text, False)
    else:
        literal = repr(value)
    if op == "ne":
        return Expression(f"({field} < {literal} or {field} > {literal})", True)
    return Expression(f"{field} {_SIGNS[op]} {literal}", True)


def _a_text(field: str) -> Expression:
    return Expression(f'{field} >= ""', True)


def _a_number(field: str) -> Expression:
    return Expression(f"({field} >= 0 or {field} < 0)", True)


def _a_boolean(field: str) -> Expression:
    return Expression(f"({field} == true or {field} == false)", True)


def _after(prefix: str) -> str:
    """The first string behind all that start so, by code point; empty if there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at]) + 1
        if code <= 0x10FFFF:
            return prefix[:at] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)
    return ""
