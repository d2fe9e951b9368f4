"""Filters on the wire: conditions on a document's fields, joined by all, any and not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from mrag_pipeline.wire.schema import Schema

Op = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "prefix", "contains", "exists"]
Scalar = Annotated[str, Field(max_length=4096)] | bool | int | float


class Condition(Schema):
    """Compares one field with a value. A document without the field never matches."""

    field: str = Field(
        max_length=512,
        description="`document_id`, `title`, or `metadata.KEY` (`metadata.KEY.KEY` goes deeper).",
        examples=["metadata.year"],
    )
    op: Op = Field(examples=["ge"])
    value: Scalar | list[Scalar] | None = Field(
        default=None,
        description="A string, number or boolean; a list for `in`; nothing for `exists`.",
        examples=[2020],
    )


class AllOf(Schema):
    """Matches if every filter matches."""

    all: list[Filter] = Field(min_length=1, max_length=64)


class AnyOf(Schema):
    """Matches if at least one filter matches."""

    any: list[Filter] = Field(min_length=1, max_length=64)


class Not(Schema):
    """Matches if the filter does not match."""

    negated: Filter = Field(alias="not")


def _kind(value: Any) -> str | None:
    """The kind of filter a value is, so that only that kind's schema validates it."""
    if isinstance(value, dict):
        return next((key for key in ("all", "any", "not") if key in value), "condition")
    kinds: dict[type, str] = {Condition: "condition", AllOf: "all", AnyOf: "any", Not: "not"}
    return kinds.get(type(value))


Filter = Annotated[
    Annotated[Condition, Tag("condition")]
    | Annotated[AllOf, Tag("all")]
    | Annotated[AnyOf, Tag("any")]
    | Annotated[Not, Tag("not")],
    Discriminator(
        _kind,
        custom_error_type="not_a_filter",
        custom_error_message="Input should be a condition (field, op, value), or all, any or not",
    ),
]
