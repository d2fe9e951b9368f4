"""Which fields a filter compares, and with what: a condition on a field that no document has.

`filters.matches` makes such a condition false without a word, and its negation true: a typo finds
nothing, or everything. What can be asked of an index to notice it is said here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from mrag_pipeline.domain.filters import (
    All,
    AnyOf,
    Condition,
    Filter,
    FilterableRow,
    Kind,
    Not,
    kind_of,
    value_of,
)

KINDS: tuple[Kind, ...] = ("string", "number", "boolean")
_PLURALS: Mapping[Kind, str] = {
    "string": "strings",
    "number": "numbers",
    "boolean": "true or false",
}


def compared_kinds(wanted: Filter) -> dict[str, set[Kind]]:
    """For each field of the filter the kinds of values it is compared with; `exists`: all kinds.

    `contains` is left out: it looks into lists, which no other condition can ask an index for.
    """
    kinds: dict[str, set[Kind]] = {}
    for condition in _conditions(wanted):
        if condition.op == "contains":
            continue
        values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
        known = {kind for kind in map(kind_of, values) if kind is not None}
        kinds.setdefault(condition.field, set()).update(known or KINDS)
    return kinds


def holds(field: str, kind: Kind) -> Filter:
    """The filter that matches a document with a value of that kind in the field."""
    if kind == "string":
        return Condition(field, "ge", "")
    if kind == "boolean":
        return Condition(field, "in", (True, False))
    return AnyOf((Condition(field, "lt", 0), Condition(field, "ge", 0)))


def kind_in(row: FilterableRow, field: str) -> Kind | None:
    """The kind of the row's value in the field; None if a filter matches none there."""
    return kind_of(value_of(row, field))


def fields_of(rows: Sequence[FilterableRow]) -> list[str]:
    """The fields that any of the rows has, as a filter names them."""
    fields = {"document_id": None, "title": None}
    for row in rows:
        fields |= dict.fromkeys(_paths(row.metadata, "metadata"))
    return list(fields)


def unmatched(field: str, compared: set[Kind], held: Sequence[Kind], known: Sequence[str]) -> str:
    """What to say of a field that has no value of a kind that it is compared with.

    Args:
        held: the kinds of values that documents have in it; none: no document has the field.
        known: fields that documents have.
    """
    if held:
        has = " and ".join(_PLURALS[kind] for kind in held)
        wanted = " or ".join(_PLURALS[kind] for kind in KINDS if kind in compared)
        return (
            f"the filter compares {field} with {wanted}, but documents have only {has} in it: "
            "such a condition matches no document"
        )
    near = difflib.get_close_matches(field, known, n=1)
    return f"no document has the field {field}: a condition on it matches none" + (
        f"; did you mean {near[0]}?" if near else ""
    )


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
        elif kind_of(value) is not None:
            yield path
