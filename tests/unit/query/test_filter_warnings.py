"""A filter on a field that no document has, or has with another type, is a warning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mrag_pipeline.domain.filter_fields import fields_of
from mrag_pipeline.domain.filters import All, AnyOf, Condition, Filter, Not
from mrag_pipeline.ports import ChunkRow
from mrag_pipeline.query.filter_warnings import filter_warnings
from tests.support.query_world import WORLD, World, random_chunks

SHELF_A, YEAR = Condition("metadata.shelf", "eq", "a"), Condition("metadata.year", "ge", 2005)


TAGGED = World(
    [
        replace(chunk, metadata={**chunk.metadata, "tags": ["x", chunk.metadata["year"]]})
        for chunk in random_chunks()
    ]
)


def warnings_of(wanted: Filter, world: World = WORLD, **given: Any) -> tuple[str, ...]:
    [answer] = world.searcher().search([world.question("dog", filter=wanted, **given)])
    return answer.warnings


@pytest.mark.parametrize(
    "wanted",
    [
        SHELF_A,
        All((SHELF_A, YEAR)),
        Condition("metadata.year", "eq", 1900),  # no hits, but documents have such a field
        Condition("metadata.shelf", "in", ("z", 3)),
        Condition("metadata.shelf", "exists"),
        Not(Condition("title", "prefix", "x")),
        Condition("document_id", "eq", "nobody"),
    ],
)
def test_a_filter_that_can_match_is_no_reason_to_warn(wanted: Filter) -> None:
    """Whether it has hits or none."""
    assert warnings_of(wanted) == ()


@pytest.mark.parametrize(
    "wanted",
    [
        Condition("metadata.yaer", "ge", 2005),
        Not(Condition("metadata.yaer", "exists")),
        AnyOf((SHELF_A, Condition("metadata.yaer", "in", (1, 2)))),
    ],
)
def test_a_field_that_no_document_has_is_named_with_the_nearest_there_is(wanted: Filter) -> None:
    """Also where hits are found all the same: a typo under `not` lets everything through."""
    [warning] = warnings_of(wanted)
    assert "no document has the field metadata.yaer" in warning
    assert "did you mean metadata.year?" in warning


def test_a_value_of_another_type_is_named() -> None:
    """A number is never equal to a string, and both would be silent."""
    [warning] = warnings_of(Condition("metadata.year", "eq", "2005"))
    assert "metadata.year with strings" in warning
    assert "only numbers" in warning


def test_each_field_is_warned_of_once() -> None:
    """However many conditions name it."""
    twice = AnyOf((Condition("metadata.a", "eq", 1), Condition("metadata.a", "eq", "x")))
    assert len(warnings_of(All((twice, Condition("metadata.b", "exists"))))) == 2


def test_nothing_is_said_of_documents_that_the_caller_may_not_see() -> None:
    """A field that only others' documents have is as good as none, and is not suggested."""
    nobody = Condition("metadata.shelf", "eq", "nobody")
    [warning] = warnings_of(All((nobody, YEAR)), visible=nobody)
    assert "no document has the field metadata.year" in warning
    assert "did you mean" not in warning


class NotAsked:
    def matching(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("asked")


def test_the_index_is_not_asked_what_a_hit_shows() -> None:
    """The usual filter costs nothing."""
    shown: Sequence[Any] = [
        row
        for row in WORLD.index.chunks(WORLD.record.chunks_collection(), range(1, 20)).values()
        if row.metadata["shelf"] == "a"
    ]
    question = WORLD.question("dog", filter=All((SHELF_A, YEAR)))
    assert filter_warnings(NotAsked(), "chunks", question, shown) == []  # type: ignore[arg-type]


def test_a_field_within_an_object_is_suggested_as_a_filter_names_it() -> None:
    """With its dots escaped, as `metadata.KEY.KEY` needs it."""
    metadata = {"owner": {"e.mail": "x"}, "tags": ["a"], "year": 1}
    row = ChunkRow(1, "d", 0, 0, 1, "t", "text", metadata)  # type: ignore[arg-type]
    assert fields_of([row]) == [
        "document_id",
        "title",
        r"metadata.owner.e\.mail",
        "metadata.tags",
        "metadata.year",
    ]


def test_no_filter_has_no_warning() -> None:
    """And asks nothing."""
    question = WORLD.question("dog")
    assert filter_warnings(NotAsked(), "chunks", question, []) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["x", 2003, "never there"])
def test_contains_on_a_list_is_no_reason_to_warn(value: Any) -> None:
    """Whether it has hits or none."""
    assert warnings_of(Condition("metadata.tags", "contains", value), TAGGED) == ()


@pytest.mark.parametrize(
    "wanted",
    [
        Condition("metadata.tags", "eq", "x"),
        Condition("metadata.tags", "in", ("x", "y")),
        Not(Condition("metadata.tags", "eq", "never there")),
        Condition("metadata.tags", "exists"),
    ],
)
def test_a_list_that_is_compared_as_a_value_is_told_of_contains(wanted: Filter) -> None:
    """The field is there: to say that no document has it would send the user astray."""
    [warning] = warnings_of(wanted, TAGGED)
    assert "documents have only lists in it" in warning
    assert "`contains` looks into lists" in warning


def test_a_list_is_noticed_by_its_values_where_the_first_documents_have_none() -> None:
    """The sample is of 32 documents; the index is asked for the value too."""
    last = TAGGED.chunks[-1]
    plain = random_chunks()[:-1]
    world = World([*plain, replace(last, document_id="zz")])
    [warning] = warnings_of(Condition("metadata.tags", "eq", "x"), world)
    assert "`contains` looks into lists" in warning


def test_contains_on_a_field_that_no_document_has_is_a_warning() -> None:
    """As for the other conditions, with the nearest name."""
    [warning] = warnings_of(Condition("metadata.tgas", "contains", "x"), TAGGED)
    assert "no document has the field metadata.tgas" in warning
    assert "did you mean metadata.tags?" in warning


def test_contains_on_a_field_without_lists_is_told_of_eq() -> None:
    """It never looks into a text."""
    [warning] = warnings_of(Condition("metadata.shelf", "contains", "a"))
    assert "looks for lists in metadata.shelf, but documents have only strings" in warning
    assert "use `eq`" in warning
