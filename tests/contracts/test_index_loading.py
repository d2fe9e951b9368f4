"""What every VectorIndex promises of loading, dropping, limits and closing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pytest

from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.ports import NO_LIMIT, CollectionSpec, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.fake_staging import table_of
from tests.support.index_rows import (
    HEAD,
    OLD,
    TEXTS,
    vectors,
)


def test_a_new_index_is_empty(index: VectorIndex) -> None:
    """No collection, no live version, no record; a missing collection counts 0 rows."""
    assert index.collections() == []
    assert index.live() is None
    assert index.records() == []
    assert index.record(OLD) is None
    assert index.count(HEAD.name) == 0
    assert not index.is_complete(HEAD, 0)
    index.drop(HEAD.name)


def test_loading_counts_every_row_of_every_table(index: VectorIndex) -> None:
    """Tables of several shards become one collection; progress reports each row once."""
    told: list[int] = []
    tables = [
        table_of(range(250), vectors(250)),
        table_of([], vectors(0)),
        table_of(range(250, 260), vectors(10, seed=1)),
    ]
    assert index.load(HEAD, tables, told.append) == 260
    assert sum(told) == 260
    assert index.count(HEAD.name) == 260
    assert index.is_complete(HEAD, 260)
    assert not index.is_complete(HEAD, 259)
    assert index.collections() == [HEAD.name]


def test_an_empty_collection_can_be_complete(index: VectorIndex) -> None:
    """A version whose every chunk was left out still has its collections."""
    assert index.load(HEAD, []) == 0
    assert index.is_complete(HEAD, 0)


def test_loading_again_replaces_every_row(index: VectorIndex) -> None:
    """No earlier row remains, and no row is duplicated."""
    index.load(HEAD, [table_of(range(50), vectors(50))])
    assert index.load(HEAD, [table_of(range(40, 60), vectors(20, seed=1))]) == 20
    assert index.is_complete(HEAD, 20)
    assert sorted(index.vectors(HEAD.name, range(100))) == list(range(40, 60))


def test_a_load_that_breaks_is_not_complete(index: VectorIndex) -> None:
    """Rows inserted before the break do not make the collection complete."""

    def breaks() -> Iterator[pa.Table]:
        yield table_of(range(200), vectors(200))
        raise RuntimeError("the staging area went away")

    with pytest.raises(RuntimeError):
        index.load(HEAD, breaks())
    assert not index.is_complete(HEAD, 200)
    assert index.load(HEAD, [table_of(range(200), vectors(200))]) == 200
    assert index.is_complete(HEAD, 200)


def test_only_the_indexs_own_collections_are_listed(index: VectorIndex) -> None:
    """Names of this index only, sorted."""
    for name in (TEXTS.name, HEAD.name, f"docs_more_{OLD}_l05_h00", "docs_scratch"):
        index.load(CollectionSpec(name, "head", 8), [table_of([1], vectors(1))])
    assert index.collections() == [TEXTS.name, HEAD.name]


def test_a_dropped_collection_is_gone(index: VectorIndex) -> None:
    """A dropped collection is gone; dropping it again does nothing."""
    index.load(HEAD, [table_of(range(5), vectors(5))])
    index.drop(HEAD.name)
    index.drop(HEAD.name)
    assert index.count(HEAD.name) == 0
    assert index.collections() == []


def test_the_description_is_one_line_and_the_size_grows(index: VectorIndex) -> None:
    """One line, and where the size can be known, one that grows with what is loaded."""
    assert "\n" not in index.describe()
    before = index.size_bytes()
    index.load(HEAD, [table_of(range(1000), vectors(1000))])
    after = index.size_bytes()
    if before is None or after is None:
        assert before is after
    else:
        assert after >= before + 1000 * 8 * 4


def test_an_ordinary_version_is_within_the_limits(index: VectorIndex) -> None:
    """An ordinary version passes."""
    index.check_limits([HEAD, TEXTS], 1000)


def test_anything_beyond_the_capabilities_is_refused(index: VectorIndex) -> None:
    """One dimension or one character too many is refused in planning, naming the limit."""
    can = index.capabilities()
    assert can.store in index.describe()
    index.check_limits([replace(HEAD, dim=min(can.max_dim, 100_000))], 1)
    if can.max_dim < NO_LIMIT:
        with pytest.raises(PlanRefused, match=f"{can.max_dim:,}"):
            index.check_limits([replace(HEAD, dim=can.max_dim + 1)], 1)
    if can.max_name_chars < NO_LIMIT:
        with pytest.raises(PlanRefused, match=f"{can.max_name_chars:,} at most"):
            index.check_limits([replace(HEAD, name="a" * (can.max_name_chars + 1))], 1)


def test_an_index_in_this_process_is_its_own(
    index: VectorIndex, request: pytest.FixtureRequest
) -> None:
    """Exact search and Lite take one call at a time and know words; a server is everybody's."""
    can = index.capabilities()
    at_once = (can.loads_at_once, can.searches_at_once)
    if request.node.callspec.params["index"] == "server":
        assert can.is_shared
        assert can.has_bulk_import
        assert at_once == (MilvusSpec().load_threads, MilvusSpec().search_threads)
    else:
        assert not can.is_shared
        assert not can.has_bulk_import
        assert can.has_full_text
        assert at_once == (1, 1)


def test_closing_twice_does_nothing(index: VectorIndex) -> None:
    """Closing twice is not an error."""
    index.close()
    index.close()
