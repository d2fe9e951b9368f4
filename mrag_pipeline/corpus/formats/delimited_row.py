"""One row of a CSV file: its fields, and whether a quote in it has taken in other rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

_LIKE_ROWS_LINES = 5  # lines in a row, at least; of them at least this share look like rows:
_LIKE_ROWS_SHARE = 0.8


def parsed_row(text: str, delimiter: str) -> list[str]:
    """The fields of a row.

    Raises: csv.Error.
    """
    # The limit holds for the whole process; records are bounded already.
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    return next(csv.reader([text], delimiter=delimiter), [])


def is_comment(text: str, values: Sequence[str], fields: Sequence[str], has_comments: bool) -> bool:
    """Whether a row is a comment: in a file with comments above its header, or `# ` and no field.

    Args:
        values: the row's; fields: the header's.
    """
    if not text.startswith("#"):
        return False
    return has_comments or (text.startswith("# ") and len(values) == 1 < len(fields))


def is_strict(text: str, delimiter: str) -> bool:
    """Whether every quote of a row closes at the end of its field."""
    try:
        next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return False
    return True


def swallowed(text: str, delimiter: str, num_fields: int, is_odd: bool) -> str:
    """Why a row of several lines is not one record; "" if it may be.

    Args:
        num_fields: of the header; is_odd: whether a quote closes within a field.
    """
    if is_odd:
        return "a quote is closed in a place where none is due, so one is left open"
    first, *lines = text.split("\n")
    rows = [line for line in lines if line.count(delimiter) == num_fields - 1]
    start = _shape(first, delimiter)
    similar = [line for line in rows if _shape(line, delimiter) == start]
    if num_fields > 1 and len(similar) >= max(_LIKE_ROWS_LINES, _LIKE_ROWS_SHARE * len(lines)):
        return "a quote seems to be left open: the lines below look like rows"
    return ""


def _shape(line: str, delimiter: str) -> str:
    """What kind of word a row begins with: its runs of digits and letters."""
    word = line.partition(delimiter)[0].strip().strip('"')
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", word))
