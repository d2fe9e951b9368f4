"""Filters written in Python: `(field("metadata.year") >= 2020) & ~field("title").starts_with("x")`.

They become the wire's filters (wire/filters.py), which the service compiles for its index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mrag_pipeline.errors import ConfigError
from mrag_pipeline.wire.filters import AllOf, AnyOf, Condition, Filter, Not, Op

Scalar = str | bool | int | float
_FILTER: TypeAdapter[Filter] = TypeAdapter(Filter, config={"defer_build": True})


@dataclass(frozen=True, slots=True)
class Where:
    """A filter that can be joined: `a & b`, `a | b`, `~a`."""

    wire: Filter

    def __and__(self, other: Where) -> Where:
        """Matches if both match."""
        return _joined(AllOf, "all", self, other)

    def __or__(self, other: Where) -> Where:
        """Matches if at least one matches."""
        return _joined(AnyOf, "any", self, other)

    def __invert__(self) -> Where:
        """Matches if this does not."""
        return Where(Not.model_validate({"not": self.wire}))

    def __bool__(self) -> bool:
        # Python would silently drop one half of `a and b` and of `1 < field("x") < 3`.
        raise TypeError("a filter has no truth value: combine filters with &, | and ~")


class Field:
    """A field of a document, to be compared; see `field`."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, value: Scalar) -> Where:  # type: ignore[override]
        return self._where("eq", value)

    def __ne__(self, value: Scalar) -> Where:  # type: ignore[override]
        return self._where("ne", value)

    def __lt__(self, value: Scalar) -> Where:
        return self._where("lt", value)

    def __le__(self, value: Scalar) -> Where:
        return self._where("le", value)

    def __gt__(self, value: Scalar) -> Where:
        return self._where("gt", value)

    def __ge__(self, value: Scalar) -> Where:
        return self._where("ge", value)

    def is_in(self, values: Iterable[Scalar]) -> Where:
        """Matches if the field is one of the values.

        Raises: ConfigError for a string, which would be read as its characters.
        """
        if isinstance(values, str):
            raise ConfigError(f"is_in({values!r})", "several values", f"is_in([{values!r}])")
        return self._where("in", list(values))

    def starts_with(self, prefix: str) -> Where:
        """Matches a string that starts with the prefix."""
        return self._where("prefix", prefix)

    def contains(self, value: Scalar) -> Where:
        """Matches a list with an element equal to the value."""
        return self._where("contains", value)

    def exists(self) -> Where:
        """Matches if the document has the field."""
        return self._where("exists", None)

    def _where(self, op: Op, value: Any) -> Where:
        if value is None and op != "exists":
            raise ConfigError(
                f"{self._name} compared with None",
                "a value",
                "`~field(...).exists()` matches documents without the field",
            )
        if isinstance(value, (Where, Field, tuple, list, set)) and op != "in":
            raise ConfigError(
                f"{self._name} compared with a {type(value).__name__}",
                "one value",
                "use is_in",
            )
        try:
            return Where(Condition(field=self._name, op=op, value=value))
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                f"{self._name} {op} {value!r}", f"a string, number or boolean ({first['msg']})"
            ) from None


def field(name: str) -> Field:
    """A field to compare: `document_id`, `title`, or `metadata.KEY` (`metadata.KEY.KEY`)."""
    return Field(name)


def wire_filter(given: Where | Filter | Mapping[str, Any] | None) -> Filter | None:
    """The filter as it is sent; a mapping is taken as the API's JSON.

    Raises: ConfigError.
    """
    if given is None:
        return None
    if isinstance(given, Where):
        return given.wire
    try:
        return _FILTER.validate_python(given)
    except ValidationError as error:
        raise ConfigError(
            f"filter {given!r}",
            error.errors()[-1]["msg"],
            'write it as field("metadata.year") >= 2020, combined with &, | and ~',
        ) from None


def _joined(kind: type[AllOf] | type[AnyOf], key: str, left: Where, right: Where) -> Where:
    """Joins two filters; a & b & c becomes one `all` of three, so that the depth stays small."""
    parts: list[Filter] = []
    for wire in (left.wire, right.wire):
        parts.extend(getattr(wire, key) if isinstance(wire, kind) else [wire])
    try:
        return Where(kind.model_validate({key: parts}))
    except ValidationError as error:
        raise ConfigError(
            f"{len(parts)} filters joined", error.errors()[0]["msg"], "use field(...).is_in([...])"
        ) from None
