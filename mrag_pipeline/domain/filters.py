"""Which documents a question is about: conditions on fields, joined by all, any and not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Op = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "prefix", "exists"]
Scalar = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Condition:
    """One field compared with a value."""

    field: str  # document_id, title, metadata.KEY or metadata.KEY.KEY...
    op: Op
    value: Scalar | tuple[Scalar, ...] | None = None  # a tuple for `in`, None for `exists`


@dataclass(frozen=True, slots=True)
class All:
    """Every one holds."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one holds."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold."""

    filter: Filter


Filter = Condition | All | AnyOf | Not


class Filtered(Protocol):
    """What a filter reads of a row."""

    @property
    def document_id(self) -> str:
        """Whose it is."""

    @property
    def title(self) -> str:
        """Its document's title."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its document's metadata."""


def parse(plain: Mapping[str, Any]) -> Filter:
    """The filter that plain JSON says.

    Raises: ConfigError.
    """
    raise NotImplementedError


def matches(wanted: Filter, row: Filtered) -> bool:
    """Whether the row is meant."""
    raise NotImplementedError
