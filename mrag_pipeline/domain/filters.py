"""Filters on documents: conditions on fields, joined by all, any and not.

`matches` is the one definition of what a filter means. An index may answer faster, never
differently:
- A string is compared with strings, by code point; a number with numbers, by value, so 1 is 1.0;
  true and false with each other; they are not numbers. A value of another type, an object, a
  list, null or a missing value matches no condition, not even `ne`.
- `lt`, `le`, `gt` and `ge` compare two dates of the metadata as moments, whatever their offsets
  and precision (`dates.py`); where one is a day, they compare days.
- `contains` matches a list that has an element equal to the value.
- `Not` is plain negation, so a missing value does match a negated condition.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol, get_args

from mrag_pipeline.domain import dates
from mrag_pipeline.errors import ConfigError

Op = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "prefix", "contains", "exists"]
Scalar = str | bool | int | float
Kind = Literal["string", "boolean", "number"]  # values of one kind are compared

MAX_DEPTH = 8  # of all, any and not in each other
MAX_CONDITIONS = 64
MAX_VALUES = 256  # of one `in`
MAX_CHARS = 4_096  # of one string
EXAMPLE = '{"field": "metadata.year", "op": "ge", "value": 2020}'

_OPS: tuple[str, ...] = get_args(Op)
_ORDERS = ("lt", "le", "gt", "ge")
_INT64 = 2**63
_KEY = re.compile(r"(?:[^.\\]|\\[.\\])+")


@dataclass(frozen=True, slots=True)
class Condition:
    """One field compared with a value.

    Raises: ConfigError for a field, op or value that is not valid.
    """

    # document_id, title, metadata.KEY or metadata.KEY.KEY...; \. is a dot within a key, \\ a \.
    field: str
    op: Op
    value: Scalar | tuple[Scalar, ...] | None = None  # a tuple for `in`, None for `exists`

    def __post_init__(self) -> None:
        """A condition that exists is valid."""
        field_path(self.field)
        _check_op(self.op)
        if self.op == "exists":
            if self.value is not None:
                raise ConfigError(f"exists with the value {_shown(self.value)}", "no value")
        elif self.op == "in":
            if not isinstance(self.value, tuple):
                raise ConfigError(f"in with {_shown(self.value)}", "a list of values")
            if len(self.value) > MAX_VALUES:
                raise ConfigError(f"in with {len(self.value)} values", f"{MAX_VALUES} at most")
            for value in self.value:
                _check_value(value)
        elif isinstance(self.value, tuple):
            raise ConfigError(f"{self.op} with a list", "one value", "for several there is `in`")
        else:
            _check_value(self.value)
            kind = kind_of(self.value)
            if self.op == "prefix" and kind != "string":
                raise ConfigError(f"prefix with {_shown(self.value)}", "a string")
            if self.op in _ORDERS and kind == "boolean":
                raise ConfigError(
                    f"{self.op} with {_shown(self.value)}", "a number or a string", "use eq or ne"
                )


@dataclass(frozen=True, slots=True)
class All:
    """Every filter holds."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one filter holds."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The filter does not hold."""

    filter: Filter


Filter = Condition | All | AnyOf | Not


class FilterableRow(Protocol):
    """What a filter reads of a row."""

    @property
    def document_id(self) -> str:
        """The id of its document."""

    @property
    def title(self) -> str:
        """Its document's title."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its document's metadata."""


def parse(plain: Mapping[str, Any]) -> Filter:
    """The filter of plain JSON: a condition, or {"all": [...]}, {"any": ...}, {"not": ...}.

    Raises: ConfigError, naming the part of the filter.
    """
    conditions = [0]
    return _parsed(plain, "filter", 1, conditions)


def matches(wanted: Filter, row: FilterableRow) -> bool:
    """Whether the row meets the filter."""
    if isinstance(wanted, Condition):
        return _holds(wanted, value_of(row, wanted.field))
    if isinstance(wanted, All):
        return all(matches(part, row) for part in wanted.filters)
    if isinstance(wanted, AnyOf):
        return any(matches(part, row) for part in wanted.filters)
    return not matches(wanted.filter, row)


def value_of(row: FilterableRow, field: str) -> object:
    """The row's value in a field; None if there is none."""
    path = field_path(field)
    if not path:
        return row.title if field == "title" else row.document_id
    value: object = row.metadata
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


@lru_cache(maxsize=1024)
def field_path(field: str) -> tuple[str, ...]:
    """The keys in the metadata that a field names, none for `document_id` and `title`.

    Raises: ConfigError for a field that does not exist.
    """
    if field in ("document_id", "title"):
        return ()
    head, _, rest = field.partition(".")
    keys = _KEY.findall(rest)
    if head != "metadata" or ".".join(keys) != rest or not keys:
        near = difflib.get_close_matches(field, ("document_id", "title"), n=1)
        suggested = near[0] if near else f"metadata.{field}"
        raise ConfigError(
            f"the field {field[:100]!r}",
            r"document_id, title, or metadata.KEY (metadata.KEY.KEY goes deeper, \. is a dot "
            "in a key)",
            f"did you mean `{suggested[:100]}`?" if head != "metadata" else "",
        )
    _check_text(field)
    return tuple(re.sub(r"\\(.)", r"\1", key) for key in keys)


def _parsed(plain: object, place: str, depth: int, conditions: list[int]) -> Filter:
    if not isinstance(plain, Mapping):
        raise ConfigError(f"{place} is {_shown(plain)}", f"an object such as {EXAMPLE}")
    if depth > MAX_DEPTH:
        raise ConfigError(
            f"{place} is {depth} levels deep", f"{MAX_DEPTH} at most", "use fewer levels"
        )
    [*names] = plain
    if names in (["all"], ["any"]):
        [joined] = names
        parts = plain[joined]
        if not isinstance(parts, list | tuple) or not parts:
            raise ConfigError(f"{place}.{joined} is {_shown(parts)}", "a list of filters")
        filters = tuple(
            _parsed(part, f"{place}.{joined}[{number}]", depth + 1, conditions)
            for number, part in enumerate(parts)
        )
        return All(filters) if joined == "all" else AnyOf(filters)
    if names == ["not"]:
        return Not(_parsed(plain["not"], f"{place}.not", depth + 1, conditions))
    conditions[0] += 1
    if conditions[0] > MAX_CONDITIONS:
        raise ConfigError("a filter of too many conditions", f"{MAX_CONDITIONS} at most")
    return _condition(plain, place)


def _condition(plain: Mapping[str, Any], place: str) -> Condition:
    unknown = sorted(str(name) for name in plain if name not in ("field", "op", "value"))
    if unknown or "field" not in plain or "op" not in plain:
        named = ", ".join(unknown) if unknown else "no field or no op"
        raise ConfigError(
            f"{place} has {named[:100]}",
            f"field, op and value, such as {EXAMPLE}; or one of all, any, not",
        )
    field, op, value = plain["field"], plain["op"], plain.get("value")
    try:
        if not isinstance(field, str):
            raise ConfigError(f"the field {_shown(field)}", "a string such as metadata.year")
        return Condition(field, op, tuple(value) if isinstance(value, list) else value)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.found}", error.expected, error.fix) from None


def _check_op(op: object) -> None:
    if op not in _OPS:
        near = difflib.get_close_matches(str(op), _OPS, n=1)
        raise ConfigError(
            f"the op {_shown(op)}",
            f"one of {', '.join(_OPS)}",
            f"did you mean `{near[0]}`?" if near else "",
        )


def _check_value(value: object) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif not isinstance(value, bool | int | float):
        raise ConfigError(f"the value {_shown(value)}", "a string, a number, true or false")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"the value {value}", "a finite number")
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise ConfigError(
            f"an integer of {value.bit_length()} bits", "one between -2^63 and 2^63 - 1"
        )


def _check_text(text: str) -> None:
    if len(text) > MAX_CHARS:
        raise ConfigError(f"a string of {len(text)} characters", f"{MAX_CHARS} at most")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError("half a surrogate pair in a string", "text that UTF-8 can hold")


def _holds(condition: Condition, stored: object) -> bool:
    if condition.op == "contains":
        return isinstance(stored, list | tuple) and any(
            kind_of(item) == kind_of(condition.value) and item == condition.value for item in stored
        )
    kind = kind_of(stored)
    if kind is None or condition.op == "exists":
        return kind is not None
    value = condition.value
    if isinstance(value, tuple):
        return any(kind_of(option) == kind and stored == option for option in value)
    if kind_of(value) != kind:
        return False
    if kind == "string" and condition.op in _ORDERS and field_path(condition.field):
        order = dates.compared(str(stored), str(value))
        if order is not None:
            return _compared(condition.op, order, 0)
    return _compared(condition.op, stored, value)


def _compared(op: Op, stored: Any, value: Any) -> bool:
    """Of two strings, two numbers or two booleans."""
    if op == "eq":
        return bool(stored == value)
    if op == "ne":
        return bool(stored != value)
    if op == "prefix":
        return bool(stored.startswith(value))
    if op == "lt":
        return bool(stored < value)
    if op == "le":
        return bool(stored <= value)
    if op == "gt":
        return bool(stored > value)
    return bool(stored >= value)


def kind_of(value: object) -> Kind | None:
    """The kind of values that a value is compared with; None if it matches nothing."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return "number"
    return None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
