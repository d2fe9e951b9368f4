"""Dates and times in ISO 8601, as metadata hold them, compared as moments.

`2024-05-01`, `2024-05-01T12:00`, `2024-05-01 12:00:00.5+02:00`, `...Z`. Without an offset a time
is UTC. Years are 0001 to 9999.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

MAX_OFFSET = timedelta(days=1)  # an offset from UTC is smaller

_DATE = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:[Zz]|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_FRACTION = re.compile(r"[.,](\d+)")
_DAY_CHARS = len("2024-05-01")


@lru_cache(maxsize=4096)
def moment(text: str) -> datetime | None:
    """The moment that a text names, in UTC; None if it is no date. Parts of a microsecond go."""
    if not _DATE.fullmatch(text):
        return None
    plain = _FRACTION.sub(lambda match: f".{match[1][:6]:0<6}", text)
    try:
        named = datetime.fromisoformat(plain.upper())
        return named.replace(tzinfo=UTC) if named.tzinfo is None else named.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def is_day(text: str) -> bool:
    """Whether a date has no time: it stands for the whole day."""
    return len(text) == _DAY_CHARS


def compared(left: str, right: str) -> int | None:
    """-1, 0 or 1 as the left date is earlier, equal or later; None if one is no date.

    If one of them is a day, days are compared: 2024-05-01T12:00Z equals 2024-05-01.
    """
    first, second = moment(left), moment(right)
    if first is None or second is None:
        return None
    if is_day(left) or is_day(right):
        return (first.date() > second.date()) - (first.date() < second.date())
    return (first > second) - (first < second)


def around(text: str) -> tuple[str, str] | None:
    """Texts before and after all texts of dates that compare as equal to this one, by code point.

    None if it is no date, or at the end of the years.
    """
    named = moment(text)
    if named is None:
        return None
    try:
        before, after = named - 2 * MAX_OFFSET, named + 2 * MAX_OFFSET
    except OverflowError:
        return None
    return f"{before:%Y-%m-%d}".zfill(_DAY_CHARS), f"{after:%Y-%m-%d}".zfill(_DAY_CHARS)
