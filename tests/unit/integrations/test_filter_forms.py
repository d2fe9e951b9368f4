"""Filters of other frameworks: what they become, and what cannot be translated."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest

from mrag_pipeline.client import Where, field
from mrag_pipeline.client.filters import wire_filter
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.integrations.filter_forms import from_dict, from_haystack

YEAR = field("metadata.year")


def wire(given: Any) -> Any:
    """The filter as JSON."""
    filter_ = wire_filter(given)
    return None if filter_ is None else filter_.model_dump(by_alias=True)


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ({"year": 2020}, YEAR == 2020),
        ({"year": {"$gte": 2020, "$lt": 2022}}, (YEAR >= 2020) & (YEAR < 2022)),
        ({"year": 2020, "kind": {"$ne": "a"}}, (YEAR == 2020) & ~(field("metadata.kind") == "a")),
        ({"year": {"$nin": [1, 2]}}, ~YEAR.is_in([1, 2])),
        ({"$or": [{"year": 2020}, {"title": "Bees"}]}, (YEAR == 2020) | (field("title") == "Bees")),
        ({"$and": [{"document_id": "d1"}]}, field("document_id") == "d1"),
        ({"owner.name": "acme"}, field("metadata.owner.name") == "acme"),
        ({"day": {"$gt": date(2024, 5, 1)}}, field("metadata.day") > "2024-05-01"),
    ],
)
def test_a_dict_as_vector_stores_take_it(given: Any, ours: Where) -> None:
    """Equality, `$` operators, and every key joined."""
    assert wire(from_dict(given)) == wire(ours)


@pytest.mark.parametrize(
    "given",
    [
        YEAR >= 2020,
        {"field": "metadata.year", "op": "ge", "value": 2020},
        {"not": {"field": "title", "op": "exists"}},
        {"any": [{"field": "title", "op": "eq", "value": "a"}]},
    ],
)
def test_a_filter_of_ours_stays_as_it_is(given: Any) -> None:
    """As `Client` takes it."""
    assert wire(from_dict(given)) == wire(given)


@pytest.mark.parametrize("none", [None, {}])
def test_no_filter_is_none(none: Any) -> None:
    """An empty dict too, as the frameworks have it."""
    assert from_dict(none) is None
    assert from_haystack(none) is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"year": {"$regex": "x"}}, r"\$regex.*one of \$eq"),
        ({"$nor": [{"year": 1}]}, "cannot be translated"),
        ({"year": {"$in": 3}}, "a list with something in it"),
        ({"$or": []}, "a list with something in it"),
        ({"year": {}}, "without a condition"),
        ({"year": None}, "compared with None"),
        ({"field": "year", "op": "like", "value": 1}, "filter"),
    ],
)
def test_what_a_dict_cannot_say(given: Any, says: str) -> None:
    """Refused before anything is asked, with what was expected."""
    with pytest.raises(ConfigError) as found:
        from_dict(given)
    assert_says(found.value, says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"field": "meta.year", "operator": "like", "value": 1}, "like.*one of =="),
        ({"field": "meta.year", "operator": "=="}, "a value and one of"),
        ({"field": "content", "operator": "==", "value": "x"}, "meta.document_id"),
        ({"operator": "XOR", "conditions": [{}]}, "AND, OR or NOT"),
        ({"operator": "AND", "conditions": [{}]}, "AND, OR or NOT"),
        ({"operator": "AND", "conditions": []}, "a list with something in it"),
        ({"field": "meta.year", "operator": "in", "value": 3}, "a list with something in it"),
    ],
)
def test_what_haystacks_form_cannot_say(given: Any, says: str) -> None:
    """The same; Haystack's own operators are named."""
    with pytest.raises(ConfigError) as found:
        from_haystack(given)
    assert_says(found.value, says)


def assert_says(error: ConfigError, pattern: str) -> None:
    """The message has the pattern, whatever its lines."""
    assert re.search(pattern, " ".join(str(error).split())), str(error)
