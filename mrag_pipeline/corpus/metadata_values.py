"""Turns a record's values into metadata: what a JSON field holds, and what was left out.

| value | becomes |
|---|---|
| string, boolean, integer of 64 bits, finite number | itself |
| a larger integer | its digits, a string |
| decimal | a number |
| date, time | ISO 8601, a string |
| list, object (map, struct) | itself, without what cannot be kept within it |
| NaN, infinity, bytes, too long or too deep | left out, named |
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import numbers
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mrag_pipeline.corpus.record import Unreadable, repaired
from mrag_pipeline.domain import dates
from mrag_pipeline.domain.documents import MetadataValue
from mrag_pipeline.settings.corpus import FieldType

MAX_DEPTH = 16  # of lists and objects in each other
NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Converted:
    """A value of metadata, and what is to be told of it."""

    value: MetadataValue | None  # None: there is none
    remark: str = ""


def converted(value: object, kind: FieldType | None, max_chars: int | None) -> Converted:
    """A record's value as metadata.

    Args:
        kind: what the field's values are; None keeps each as it is.
        max_chars: of a string, or of a list or object as JSON; None for no limit.
    """
    if isinstance(value, Unreadable):
        return Converted(None, f"{value.reason}: left out")
    if value is None:
        return Converted(None)
    if kind is not None:
        return _typed(value, kind)
    remarks: list[str] = []
    plain = _plain(value, 0, remarks)
    if plain is not None and max_chars is not None and _num_chars(plain) > max_chars:
        return Converted(None, f"longer than {max_chars:,} characters: left out")
    return Converted(plain, remarks[0] if remarks else "")


def scalar(value: object) -> str | int | float | bool | None:
    """A value as one word of text or one number; None for null, NaN, bytes and nested values."""
    if isinstance(value, str):
        return repaired(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID | datetime.timedelta):
        return str(value)
    return None


def number_of(text: str) -> int | float | None:
    """The number that a text is, as a person would write it: 007 and +1 are none."""
    if not NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdigit():
        whole = int(text) if len(text) < 25 else _INT64
        return whole if -_INT64 <= whole < _INT64 else None
    number = float(text)
    return number if math.isfinite(number) else None


def boolean_of(text: str) -> bool | None:
    """The truth value that a text is: true or false, in small letters, capitals, or as a word."""
    return {"true": True, "false": False}.get(text.lower())


def _plain(value: object, depth: int, remarks: list[str]) -> MetadataValue | None:
    """The value for JSON; what cannot be kept becomes None, with a remark."""
    if isinstance(value, decimal.Decimal):
        return _finite(_of_decimal(value), remarks)
    simple = scalar(value)
    if simple is not None or value is None:
        return simple
    if isinstance(value, Mapping | list | tuple):
        if depth >= MAX_DEPTH:
            remarks.append(f"nested more than {MAX_DEPTH} deep: left out")
            return None
        if not isinstance(value, Mapping):
            return [_plain(item, depth + 1, remarks) for item in value]
        items = ((str(name), _plain(item, depth + 1, remarks)) for name, item in value.items())
        return {repaired(name): item for name, item in items if item is not None}
    if isinstance(value, numbers.Real):
        return _finite(float(value), remarks)
    if isinstance(value, Unreadable):
        remarks.append(f"{value.reason}: left out")
        return None
    kind = "bytes" if isinstance(value, bytes) else f"of type {type(value).__name__}"
    remarks.append(f"{kind}: left out")
    return None


def _finite(number: int | float, remarks: list[str]) -> int | float | None:
    if isinstance(number, int) or math.isfinite(number):
        return number
    remarks.append("NaN or infinity: left out")
    return None


def _of_decimal(value: decimal.Decimal) -> int | float:
    if not value.is_finite():
        return math.nan
    is_whole = abs(value) < _INT64 and value == value.to_integral_value()
    return int(value) if is_whole else float(value)


def _num_chars(value: MetadataValue) -> int:
    if isinstance(value, str):
        return len(value)
    return len(json.dumps(value, ensure_ascii=False)) if isinstance(value, list | dict) else 0


def _typed(value: object, kind: FieldType) -> Converted:
    if isinstance(value, str) and not value.strip():
        return Converted(None)  # an empty cell
    typed = _OF_KIND[kind](value)
    return Converted(typed, "" if typed is not None else f"not {_NAMES[kind]}: left out")


def _number(value: object) -> MetadataValue | None:
    if isinstance(value, str):
        return number_of(value.strip())
    if isinstance(value, bool):
        return None
    plain = _plain(value, 0, [])
    return plain if isinstance(plain, int | float) else None


def _boolean(value: object) -> MetadataValue | None:
    if isinstance(value, str):
        return boolean_of(value.strip())
    return value if isinstance(value, bool) else None


def _date(value: object) -> MetadataValue | None:
    plain = scalar(value)
    text = plain.strip() if isinstance(plain, str) else ""
    return text if dates.moment(text) else None


def _text(value: object) -> MetadataValue | None:
    plain = scalar(value)
    return None if plain is None else str(plain)


_OF_KIND: Mapping[FieldType, Callable[[object], MetadataValue | None]] = {
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "text": _text,
}
_NAMES: Mapping[FieldType, str] = {
    "number": "a number",
    "boolean": "true or false",
    "date": "a date in ISO 8601",
    "text": "a text",
}
