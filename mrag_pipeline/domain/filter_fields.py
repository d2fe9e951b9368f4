"""Which fields a filter compares, and with what: a condition on a field that no document has.

`filters.matches` makes such a condition false without a word, and its negation true: a typo finds
nothing, or everything. What can be asked of an index to notice it is said here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from mrag_pipeline.domain.filters import (
    All,
    AnyOf,
    Condition,
    Filter,
    FilterableRow,
    Kind,
    Not,
    Scalar,
    kind_of,
    value_of,
)

KINDS: tuple[Kind, ...] = ("string", "number", "boolean")
Holding = Kind | Literal["list"]
_PLURALS: Mapping[Holding, str] = {
    "string": "strings",
    "number": "numbers",
    "boolean": "true or false",
    "list": "lists",
}
_MAX_ASKED = 16  # values of one field that lists are asked for


def compared_kinds(wanted: Filter) -> dict[str, set[Holding]]:
    """For each field of the filter what it should hold: the kinds of values it is compared with.

    `exists`: all kinds; `contains`: lists.
    """
    kinds: dict[str, set[Holding]] = {}
    for condition in _conditions(wanted):
        known = {kind for kind in map(kind_of, _values(condition)) if kind is not None}
        wants = {"list"} if condition.op == "contains" else known or KINDS
        kinds.setdefault(condition.field, set()).update(wants)  # type: ignore[arg-type]
    return kinds


def holds(field: str, kind: Kind) -> Filter:
    """The filter that matches a document with a value of that kind in the field."""
    if kind == "string":
        return Condition(field, "ge", "")
    if kind == "boolean":
        return Condition(field, "in", (True, False))
    return AnyOf((Condition(field, "lt", 0), Condition(field, "ge", 0)))


def holds_in_list(wanted: Filter, field: str) -> Filter | None:
    """The filter that matches a list in the field with one of its values; None if it has none.

    No condition asks an index for any list.
    """
    of_field = (one for one in _conditions(wanted) if one.field == field)
    values = dict.fromkeys(value for one in of_field for value in _values(one))
    asked = [value for value in values if value is not None][:_MAX_ASKED]
    return AnyOf(tuple(Condition(field, "contains", one) for one in asked)) if asked else None


def kind_in(row: FilterableRow, field: str) -> Holding | None:
    """What the row's field holds; None if a filter matches nothing there."""
    value = value_of(row, field)
    return "list" if isinstance(value, list | tuple) else kind_of(value)


def fields_of(rows: Sequence[FilterableRow]) -> list[str]:
    """The fields that any of the rows has, as a filter names them."""
    fields = {"document_id": None, "title": None}
    for row in rows:
        fields |= dict.fromkeys(_paths(row.metadata, "metadata"))
    return list(fields)


def unmatched(
    field: str, compared: set[Holding], held: Sequence[Holding], known: Sequence[str]
) -> str:
    """What to say of a field that has no value of a kind that it is compared with.

    Args:
        held: the kinds of values that documents have in it; none: no document has the field.
        known: fields that documents have.
    """
    if held:
        has = " and ".join(_PLURALS[kind] for kind in held)
        wanted = " or ".join(_PLURALS[kind] for kind in _PLURALS if kind in compared)
        looks = "looks for lists in" if compared == {"list"} else "compares"
        with_what = "" if compared == {"list"} else f" with {wanted}"
        advice = "; `contains` looks into lists" if "list" in held else ""
        advice = "; `contains` looks into lists only, use `eq`" if "list" in compared else advice
        return (
            f"the filter {looks} {field}{with_what}, but documents have only {has} in it: "
            f"such a condition matches no document{advice}"
        )
    near = difflib.get_close_matches(field, known, n=1)
    return f"no document has the field {field}: a condition on it matches none" + (
        f"; did you mean {near[0]}?" if near else ""
    )


def _values(condition: Condition) -> tuple[Scalar | None, ...]:
    return condition.value if isinstance(condition.value, tuple) else (condition.value,)


def _conditions(wanted: Filter) -> Iterator[Condition]:
    if isinstance(wanted, Condition):
        yield wanted
    elif isinstance(wanted, Not):
        yield from _conditions(wanted.filter)
    elif isinstance(wanted, All | AnyOf):
        for part in wanted.filters:
            yield from _conditions(part)


def _paths(values: Mapping[str, object], above: str) -> Iterator[str]:
    for key, value in values.items():
        path = above + "." + str(key).replace("\\", r"\\").replace(".", r"\.")
        if isinstance(value, Mapping):
            yield from _paths(value, path)
        elif isinstance(value, list | tuple) or kind_of(value) is not None:
            yield path
