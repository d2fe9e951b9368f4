"""What a wrong value of a setting should have been, in words, from the facts of its check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# By the kind of error that pydantic reports.
_KINDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list in square brackets",
    "mapping_type": "a table: { name = value }",
    "dict_type": "a table: { name = value }",
}
# What pydantic adds to the place of a value that may be of several types.
_TYPES = ("int", "float", "str", "bool")


def expected_value(
    kind: str, context: Mapping[str, Any], message: str, place: Sequence[str | int]
) -> str:
    """What the value should have been.

    Args:
        kind, context, message, place: pydantic's type, ctx, msg and loc of the error.
    """
    if place and place[-1] in _TYPES:
        return "a string, a number, or true or false"
    if kind == "literal_error":
        return str(context["expected"])
    if kind == "greater_than":
        return f"a number above {context['gt']:g}"
    if kind == "greater_than_equal":
        return f"a number of at least {context['ge']:g}"
    if kind == "less_than" and context["lt"] == math.inf:
        return "a finite number"
    if kind == "less_than":
        return f"a number below {context['lt']:g}"
    if kind == "less_than_equal":
        return f"a number of at most {context['le']:g}"
    return _KINDS.get(kind, message)


def key_of(place: Sequence[str | int]) -> str:
    """`encoder.layers[0]` for the place ("encoder", "layers", 0)."""
    parts = place[:-1] if len(place) > 2 and place[-1] in _TYPES else place
    key = ""
    for part in parts:
        key += f"[{part}]" if isinstance(part, int) else f".{part}"
    return key.removeprefix(".")
