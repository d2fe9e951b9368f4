"""Reads what another version of mrag may have written: its format number first, then its fields.

A reader of a format takes what was written in it and keeps or ignores fields that it does not
know. A newer format is refused by name. What is of format 1 is written without a number, as it was
before there were any, so that readers of 0.1 go on reading.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mrag_pipeline.errors import NewerFormat

FIRST = 1


def parsed(text: str, what: str, known: int) -> dict[str, Any]:
    """The JSON object in the text, without its format number.

    Args:
        what: names it in errors: "the manifest of an index version".
        known: the newest format that this code reads.
    Raises: NewerFormat; ValueError if it is no JSON object, or its number is none.
    """
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"{type(values).__name__} in place of an object")
    check(values.pop("format", FIRST), what, known)
    return values


def check(number: object, what: str, known: int) -> None:
    """Returns if this code reads the format.

    Raises: NewerFormat; ValueError if it is not a number of a format.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < FIRST:
        raise ValueError(f"format {number!r}")
    if number > known:
        raise NewerFormat(
            f"{what} has format {number}: a newer mrag wrote it",
            f"format {known} or older",
            "upgrade mrag here, or use the one that wrote it (docs/upgrading.md); nothing was "
            "changed",
        )


def of_fields(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the dataclass's own fields; a later version may have written others."""
    names = {own.name for own in fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def digest(values: Mapping[str, Any]) -> str:
    """Of plain values, whatever their order; 32 hex digits."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
