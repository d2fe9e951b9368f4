"""Up to when a table's changes are known: the newest value of the column that changes with a row.

Knows nothing of databases: it keeps that value with the version, and says of a row's own value
whether the row can have changed since.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from mrag_pipeline.domain.stored_format import digest
from mrag_pipeline.settings.corpus import CorpusSpec

WATERMARK = "watermark"  # the key of a reading that holds it
_KINDS: Mapping[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "Decimal": decimal.Decimal,
    "str": str,
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
}
_SKEW = datetime.timedelta(minutes=5)  # of clocks, below the default of sync.overlap_s
_ANY_ZONE = datetime.timedelta(hours=14)  # that a time without one may be ahead of UTC


@dataclass(frozen=True, slots=True)
class Watermark:
    """The newest value, and of which settings: others read other documents from the same rows."""

    of: str
    value: object

    @classmethod
    def at(cls, spec: CorpusSpec, newest: object) -> Self | None:
        """The watermark at the newest value of a table.

        None where it says nothing: no value, a type that cannot be kept, or a time in the future,
        behind which changes of now would not be seen.
        """
        if type(newest).__name__ not in _KINDS or _is_future(newest):
            return None
        return cls(digest(spec.identity()), newest)

    @classmethod
    def kept(cls, spec: CorpusSpec, reading: Mapping[str, Any]) -> Self | None:
        """The one that a version's reading holds, if it was made by the same settings."""
        plain = reading.get(WATERMARK)
        if not isinstance(plain, Mapping) or plain["of"] != digest(spec.identity()):
            return None
        kind, text = plain["value"]
        return cls(plain["of"], _KINDS[kind](text))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        value = self.value
        text = value.isoformat() if isinstance(value, datetime.date) else str(value)
        return {"of": self.of, "value": [type(value).__name__, text]}

    def may_have_changed(self, value: object, overlap_s: float) -> bool:
        """Whether a row with this value can have changed since; True where it cannot be told.

        Args:
            overlap_s: how late a change may have come after its own time.
        """
        seen, limit = _point(value), _point(self.value)
        if isinstance(limit, datetime.datetime):
            limit -= datetime.timedelta(seconds=overlap_s)
        try:
            return seen is None or bool(seen >= limit)
        except TypeError:
            return True


def _point(value: object) -> Any:
    """The value as it is compared: a time, if it is or names one."""
    if isinstance(value, str):
        try:
            return datetime.datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return datetime.datetime.combine(value, datetime.time())
    return value


def _is_future(value: object) -> bool:
    point = _point(value)
    if not isinstance(point, datetime.datetime):
        return False
    now = datetime.datetime.now(datetime.UTC)
    if point.tzinfo is None:
        return point > now.replace(tzinfo=None) + _ANY_ZONE + _SKEW
    return point > now + _SKEW
