"""Translates filters to Milvus expressions; every text from a caller is quoted.

An expression never leaves out a row that matches. Where a backend cannot express a condition as
`filters.matches` defines it, the expression matches more rows and says so; Python checks the rows.
- Milvus Lite treats true as 1, and for a condition on metadata it reads every row with its vector.
  So Lite gets conditions on document_id and title only.
- Servers compare a double with an integer as doubles, which is wrong from 2^53 on.
- Servers differ in what `not` does with a missing JSON key, so they never get a negated condition
  on metadata. `ne` becomes "smaller or greater".
- Dates are compared as moments: the expression takes those of two days more on either side.
- `like` has wildcards that not every server can escape, so a prefix becomes a range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrag_pipeline.domain import dates
from mrag_pipeline.domain.filters import All, AnyOf, Condition, Filter, Not, Op, Scalar, field_path
from mrag_pipeline.index.milvus.schema import quoted

_EXACT_NUMBERS = 2**53  # doubles hold every integer below it
_SIGNS: dict[Op, str] = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ORDERS = ("lt", "le", "gt", "ge")
_NEGATED: dict[Op, Op] = {
    "eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition in Milvus's filter language."""

    text: str  # empty: every row
    is_exact: bool  # if False, it may also match rows that the filter does not


_ALL = Expression("", True)
_UNDECIDED = Expression("", False)
_NONE = Expression("chunk_id < 0", True)  # ids are positive


def expression(wanted: Filter, lite: bool) -> Expression:
    """The filter as an expression for Milvus Lite, or for a server."""
    return _of(wanted, negated=False, lite=lite)


def ids_in(ids: Sequence[int]) -> str:
    """An expression for the rows with these ids."""
    return f"chunk_id in [{', '.join(str(int(chunk_id)) for chunk_id in ids)}]"


def both(left: str, right: str) -> str:
    """An expression for the rows that match both; an empty expression matches every row."""
    return f"({left}) and ({right})" if left and right else left or right


def _of(wanted: Filter, negated: bool, lite: bool) -> Expression:
    """Moves every `not` down to the conditions, so that only they are negated."""
    if isinstance(wanted, Not):
        return _of(wanted.filter, not negated, lite)
    if isinstance(wanted, All | AnyOf):
        parts = [_of(part, negated, lite) for part in wanted.filters]
        return _all_of(parts) if isinstance(wanted, All) != negated else _any_of(parts)
    path = field_path(wanted.field)
    if not path:
        return _text_field(wanted, negated)
    return _UNDECIDED if negated or lite else _json_field(wanted, path)


def _all_of(parts: Sequence[Expression]) -> Expression:
    if _NONE in parts:
        return _NONE
    texts = [part.text for part in parts if part.text]
    return Expression(_joined(texts, "and"), all(part.is_exact for part in parts))


def _any_of(parts: Sequence[Expression]) -> Expression:
    if _ALL in parts:
        return _ALL
    parts = [part for part in parts if part != _NONE]
    if not parts:
        return _NONE
    if any(not part.text for part in parts):
        return _UNDECIDED
    texts = [part.text for part in parts]
    return Expression(_joined(texts, "or"), all(part.is_exact for part in parts))


def _joined(texts: Sequence[str], word: str) -> str:
    """Nests the texts in halves: a server parses a chain as deep as it is long, up to a limit."""
    if len(texts) < 2:
        return "".join(texts)
    middle = len(texts) // 2
    return f"({_joined(texts[:middle], word)} {word} {_joined(texts[middle:], word)})"


def _text_field(condition: Condition, negated: bool) -> Expression:
    """A condition on document_id or title, which every row has."""
    field, op, value = condition.field, condition.op, condition.value
    none, every = (_ALL, _NONE) if negated else (_NONE, _ALL)
    if op == "exists":
        return every
    if op == "contains":  # holds of lists alone
        return none
    if isinstance(value, tuple):
        texts = [text for text in value if isinstance(text, str)]
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
    # An expression cannot name an empty key; a server takes a number for an index into a list.
    if "" in path:
        return _UNDECIDED
    field = "metadata" + "".join(f"[{quoted(key)}]" for key in path)
    is_exact = not any(key.isdigit() for key in path[1:])
    op, value = condition.op, condition.value
    if op == "contains":
        # A server's 1 need not be its 1.0.
        if not isinstance(value, str):
            return _UNDECIDED
        return Expression(f"json_contains({field}, {quoted(value)})", False)
    if op == "exists":
        parts = [_is_text(field), _is_number(field), _is_boolean(field)]
    elif isinstance(value, tuple):
        parts = [_compared(field, "eq", scalar) for scalar in value]
    else:
        assert value is not None
        parts = [_compared(field, op, value)]
    joined = _any_of(parts)
    return Expression(joined.text, joined.is_exact and is_exact)


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
        if op in _ORDERS and dates.moment(value):
            return _near(field, op, value)
        literal = quoted(value)
    elif abs(value) >= _EXACT_NUMBERS:
        return Expression(_is_number(field).text, False)
    else:
        literal = repr(value)
    if op == "ne":
        return Expression(f"({field} < {literal} or {field} > {literal})", True)
    return Expression(f"{field} {_SIGNS[op]} {literal}", True)


def _near(field: str, op: Op, date: str) -> Expression:
    """More than the texts on the wanted side of a date: an offset moves a date by a day."""
    bounds = dates.around(date)
    if bounds is None:
        return Expression(_is_text(field).text, False)
    before, after = bounds
    bound = f"> {quoted(before)}" if op in ("gt", "ge") else f"< {quoted(after)}"
    return Expression(f"{field} {bound}", False)


def _is_text(field: str) -> Expression:
    return Expression(f'{field} >= ""', True)


def _is_number(field: str) -> Expression:
    return Expression(f"({field} >= 0 or {field} < 0)", True)


def _is_boolean(field: str) -> Expression:
    return Expression(f"({field} == true or {field} == false)", True)


def _after(prefix: str) -> str:
    """The first string after all that start with the prefix, by code point; "" if none is."""
    for position in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[position]) + 1
        if code <= 0x10FFFF:
            return prefix[:position] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)
    return ""
