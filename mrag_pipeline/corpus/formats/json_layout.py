"""How the objects of a JSON file stand in it, from its beginning."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum

from mrag_pipeline.corpus.field_mapping import TEXTS

_SPACES = re.compile(r"[ \t\r\n]*")
_decode = json.JSONDecoder().raw_decode


class JsonLayout(Enum):
    """The layouts, by the names that messages show."""

    LINES = "JSON Lines"
    ARRAY = "JSON array"
    WRAPPED = "JSON (the objects of the arrays in one object)"
    VALUES = "JSON objects"


def json_layout(head: str, is_whole: bool, text_field: str) -> JsonLayout:
    """The layout of a file that begins so.

    Args:
        is_whole: whether that is all of it.
        text_field: of the settings; "" if they name none.
    """
    body = head.lstrip(" \t\r\n")
    if "\n" not in body and "\r" in body.strip():  # the line ends of old Macs
        layout = json_layout(body.replace("\r", "\n"), is_whole, text_field)
        return JsonLayout.VALUES if layout is JsonLayout.LINES else layout
    if body.startswith("["):
        return JsonLayout.ARRAY
    if not body.startswith("{"):
        return JsonLayout.LINES
    line, has_next, rest = body.partition("\n")
    following = rest.lstrip(" \t\r\n")
    first = _object(line)
    if first is not None and following:
        return JsonLayout.LINES
    if first is None and has_next and re.match(r'\{[ \t]*"', following) and line.strip() != "{":
        return JsonLayout.LINES  # the first line is a bad one
    if not has_next and not is_whole:
        return JsonLayout.WRAPPED if _wraps(body, text_field) else JsonLayout.LINES
    if first is not None:
        return JsonLayout.WRAPPED if _is_wrapper(first, text_field) else JsonLayout.LINES
    whole = _object(body) if is_whole else None
    is_wrapped = _wraps(body, text_field) if whole is None else _is_wrapper(whole, text_field)
    return JsonLayout.WRAPPED if is_wrapped else JsonLayout.VALUES


def _object(text: str) -> Mapping[str, object] | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _is_wrapper(values: Mapping[str, object], text_field: str) -> bool:
    """Whether an object has no text of its own, and an array of objects."""
    return not any(_is_text(name, value, text_field) for name, value in values.items()) and any(
        isinstance(value, list) and value and isinstance(value[0], dict)
        for value in values.values()
    )


def _wraps(body: str, text_field: str) -> bool:
    """As `_is_wrapper`, of an object whose end is not known: the first array of objects counts."""
    position = 1
    try:
        while True:
            name, position = _decode(body, _after_spaces(body, position))
            position = _after_spaces(body, position)
            if body[position] != ":" or not isinstance(name, str):
                return False
            position = _after_spaces(body, position + 1)
            if body[position] == "[" and body[_after_spaces(body, position + 1)] == "{":
                return True
            value, position = _decode(body, position)
            if _is_text(name, value, text_field):
                return False
            position = _after_spaces(body, position)
            if body[position] != ",":
                return False
            position += 1
    except (ValueError, IndexError, RecursionError):
        return False


def _is_text(name: str, value: object, text_field: str) -> bool:
    is_named = name == text_field if text_field else name.lower() in TEXTS
    return is_named and isinstance(value, str)


def _after_spaces(body: str, position: int) -> int:
    found = _SPACES.match(body, position)
    assert found
    return found.end()
