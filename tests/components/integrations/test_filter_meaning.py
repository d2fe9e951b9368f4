"""A translated filter means here what it means in its framework: compared document by document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.client import Where
from mrag_pipeline.domain.filters import matches, parse
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.integrations.filter_forms import from_haystack, from_llama_index
from tests.support.lazy_library import LazyLibrary

haystack = LazyLibrary("haystack")
haystack_filters = LazyLibrary("haystack.utils.filters")
llama = LazyLibrary("llama_index.core.vector_stores")
llama_utils = LazyLibrary("llama_index.core.vector_stores.utils")

NUMBERS = st.integers(0, 3)
TEXTS = st.sampled_from(["a", "b", "ab"])
METADATA = st.fixed_dictionaries(
    {}, optional={"n": NUMBERS, "s": TEXTS, "tags": st.lists(TEXTS, min_size=1, max_size=3)}
)


@dataclass
class Row:
    metadata: Mapping[str, Any]
    document_id: str = "d1"
    title: str = "Bees"


def ours(where: Where | None, metadata: Mapping[str, Any]) -> bool:
    """Whether our own definition of filters matches."""
    assert where is not None
    return matches(parse(where.wire.model_dump(by_alias=True)), Row(metadata))


def haystack_condition(operator: str) -> st.SearchStrategy[dict[str, Any]]:
    """One comparison; only numbers have an order in both."""
    if operator in ("in", "not in"):
        value: st.SearchStrategy[Any] = st.lists(NUMBERS, min_size=1, max_size=3)
    else:
        value = NUMBERS
    numbers = st.builds(lambda v: {"field": "meta.n", "operator": operator, "value": v}, value)
    if operator not in ("==", "!="):
        return numbers
    return numbers | TEXTS.map(lambda v: {"field": "meta.s", "operator": operator, "value": v})


HAYSTACK = st.recursive(
    st.sampled_from(["==", "!=", ">", ">=", "<", "<=", "in", "not in"]).flatmap(haystack_condition),
    lambda inner: st.builds(
        lambda operator, conditions: {"operator": operator, "conditions": conditions},
        st.sampled_from(["AND", "OR", "NOT"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


@given(HAYSTACK, METADATA)
def test_haystacks_filters(filters: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Also where a document lacks the field."""
    expected = haystack_filters.document_matches_filter(
        filters, haystack.Document(content="x", meta=metadata)
    )
    assert ours(from_haystack(filters), metadata) == expected


def llama_filter(operator: str) -> st.SearchStrategy[Any]:
    """One filter with a value that its operator takes."""
    key, value = "n", NUMBERS
    if operator in ("in", "nin"):
        value = st.lists(NUMBERS, min_size=1, max_size=3)  # type: ignore[assignment]
    elif operator == "contains":
        key, value = "tags", TEXTS  # type: ignore[assignment]
    elif operator in ("any", "all"):
        key, value = "tags", st.lists(TEXTS, min_size=1, max_size=3)  # type: ignore[assignment]
    return st.builds(
        lambda v: llama.MetadataFilter.from_dict({"key": key, "value": v, "operator": operator}),
        value,
    )


LLAMA = st.builds(
    lambda **facts: llama.MetadataFilters(**facts),
    filters=st.lists(
        st.sampled_from(
            ["==", "!=", ">", ">=", "<", "<=", "in", "nin", "contains", "any", "all"]
        ).flatmap(llama_filter),
        min_size=1,
        max_size=3,
    ),
    condition=st.deferred(lambda: st.sampled_from(list(llama.FilterCondition))),
)


@given(LLAMA, METADATA)
def test_llama_indexs_filters(filters: Any, metadata: dict[str, Any]) -> None:
    """As its own vector store reads them."""
    expected = llama_utils.build_metadata_filter_fn(lambda _: metadata, filters)("any id")
    assert ours(from_llama_index(filters), metadata) == expected


def test_nested_filters_of_llama_index_are_joined() -> None:
    """Its own store refuses them; others take them."""
    inner = llama.MetadataFilters.from_dicts(
        [{"key": "n", "value": 1}, {"key": "n", "value": 2}], "or"
    )
    outer = llama.MetadataFilters(
        filters=[inner, llama.MetadataFilter(key="document_id", value="d1")]
    )
    where = from_llama_index(outer)
    assert [ours(where, {"n": n}) for n in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize("operator", ["text_match", "text_match_insensitive", "is_empty"])
def test_what_llama_indexs_filters_cannot_say_here(operator: str) -> None:
    """Named, with what can be said."""
    given_ = llama.MetadataFilters.from_dicts([{"key": "s", "value": "a", "operator": operator}])
    with pytest.raises(ConfigError, match="cannot be translated"):
        from_llama_index(given_)


def test_no_filter_of_llama_index_is_none() -> None:
    """An empty list too."""
    assert from_llama_index(None) is None
    assert from_llama_index(llama.MetadataFilters(filters=[])) is None
