"""What every VectorIndex promises of filters, searches among ids, and time limits.

Milvus Lite runs twice: as it is, and with expressions only, as for a `milvus-lite server`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.domain.filters import All, Condition, Filter, Not, Scalar, matches
from mrag_pipeline.errors import NoLiveVersion
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.index.milvus.adapter import MilvusIndex, open_index
from mrag_pipeline.ports import ChunkRow, CollectionSpec, SearchRequest, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.fake_staging import table_of
from tests.support.filter_examples import DATES, KEYS, LISTS, NUMBERS, filters
from tests.support.filter_examples import TEXTS as STRINGS
from tests.support.index_rows import HEAD, OLD, TEXTS, texts, vectors
from tests.support.milvus_server import SERVER, empty

NUM_ROWS = 150
KINDS = ["exact", "lite", "lite expressions", *(["server"] if SERVER else [])]
EXTRA: list[Any] = [{"b": 1}, {"b": "x"}, {"0": "x"}, {"b": {"b": "x"}}, *LISTS, *DATES]


def opened(kind: str, folder: Path) -> VectorIndex:
    index: Any
    if kind == "exact":
        return ExactIndex("docs")
    if kind == "server":
        empty(SERVER)
        return open_index(MilvusSpec(uri=SERVER), "docs")
    index = open_index(MilvusSpec(uri=str(folder / "x.db")), "docs")
    if kind == "lite expressions":
        index._lite_rows = None
    return index


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    """An empty index named docs."""
    made = opened(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=KINDS, scope="module")
def hostile(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[VectorIndex, dict[int, ChunkRow]]]:
    """An index of rows with every kind of metadata, and those rows."""
    index = opened(request.param, tmp_path_factory.mktemp("hostile"))
    draw = random.Random(0)
    values: list[Any] = [*STRINGS, *NUMBERS, True, False, *EXTRA]
    rows = {}
    for at in range(NUM_ROWS):
        metadata = {key: draw.choice(values) for key in draw.sample(KEYS, draw.randrange(4))}
        # Every value once under the key that most conditions are about.
        metadata |= {"a": values[at]} if at < len(values) else {}
        name, title = f"d{draw.choice(STRINGS)}", draw.choice(STRINGS)
        rows[at + 1] = ChunkRow(at + 1, name, 0, 0, 9, title, "x", metadata)
    table = texts(
        [row.document_id for row in rows.values()],
        title=[row.title for row in rows.values()],
        metadata=[json.dumps(row.metadata) for row in rows.values()],
    )
    index.load(TEXTS, [table])
    yield index, rows
    index.close()


# ------------------------------------------------------------------ matching
def expected(rows: dict[int, ChunkRow], wanted: Filter) -> list[int]:
    return [one for one, row in rows.items() if matches(wanted, row)]


@settings(max_examples=150)
@given(wanted=filters, some=st.sets(st.integers(1, NUM_ROWS + 9), max_size=20))
def test_matching_agrees_with_filters_matches(hostile: Any, wanted: Filter, some: set[int]) -> None:
    """Every filter over every kind of value, for all rows and for some: the same ids."""
    index, rows = hostile
    right = expected(rows, wanted)
    assert index.matching(TEXTS.name, wanted).tolist() == right
    found = index.matching(TEXTS.name, wanted, sorted(some))
    assert found.dtype == np.int64
    assert found.tolist() == [one for one in right if one in some]


@pytest.mark.parametrize("op", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_every_value_is_compared_with_every_other(hostile: Any, op: Any) -> None:
    """Numbers about 2^53 and 2^63, strings of any character, true against 1."""
    index, rows = hostile
    values: list[Scalar] = [
        *STRINGS,
        *DATES,
        *NUMBERS,
        *([True, False] if op in ("eq", "ne") else []),
    ]
    for value in values:
        wanted = Condition("metadata.a", op, value)
        assert index.matching(TEXTS.name, wanted).tolist() == expected(rows, wanted), value


@pytest.mark.parametrize("value", [*STRINGS, *NUMBERS, True, False])
def test_a_list_contains_its_elements(hostile: Any, value: Scalar) -> None:
    """By kind and value; a text is no list."""
    index, rows = hostile
    wanted = Condition("metadata.a", "contains", value)
    assert index.matching(TEXTS.name, wanted).tolist() == expected(rows, wanted)


@pytest.mark.parametrize("field", ["document_id", "title"])
def test_an_id_and_a_title_contain_nothing(hostile: Any, field: str) -> None:
    """They are texts, never lists."""
    index, rows = hostile
    for value in (STRINGS[0], "d", 1, True):
        wanted = Condition(field, "contains", value)
        assert index.matching(TEXTS.name, wanted).tolist() == []
        assert index.matching(TEXTS.name, Not(wanted)).tolist() == sorted(rows)


@pytest.mark.parametrize("field", ["document_id", "title", "metadata.a"])
def test_every_text_finds_itself_alone(hostile: Any, field: str) -> None:
    """No character of a value is a part of the expression; a prefix has no wildcards."""
    index, rows = hostile
    for text in STRINGS:
        for wanted in (Condition(field, "eq", text), Condition(field, "prefix", text)):
            assert index.matching(TEXTS.name, wanted).tolist() == expected(rows, wanted), text


@pytest.mark.parametrize("key", KEYS)
def test_a_filter_can_name_any_key(hostile: Any, key: str) -> None:
    """Dots, quotes, brackets, slashes, newlines."""
    index, rows = hostile
    field = "metadata." + key.replace("\\", "\\\\").replace(".", "\\.")
    wanted = Condition(field, "exists")
    right = expected(rows, wanted)
    assert right
    assert index.matching(TEXTS.name, wanted).tolist() == right
    assert index.matching(TEXTS.name, Not(wanted)).tolist() == expected(rows, Not(wanted))


@pytest.mark.parametrize("exact", [True, False])
def test_more_matches_than_one_answer_holds_are_returned(index: VectorIndex, exact: bool) -> None:
    """All of them without a limit; with one, so many of them."""
    ids = [1 + at * 2**50 for at in range(4_600)]
    metadata = [json.dumps({"n": at}) for at in range(4_600)]
    index.load(TEXTS, [texts(["d"] * 4_600, chunk_id=ids, metadata=metadata)])
    wanted: Filter = Condition("metadata.n", "ge", 100)
    if not exact:
        wanted = All((wanted, Not(Condition("metadata.n", "eq", 2**60))))
    right = ids[100:]
    assert index.matching(TEXTS.name, wanted).tolist() == right
    few = index.matching(TEXTS.name, wanted, limit=4_100)
    assert len(few) == 4_100
    assert set(few.tolist()) <= set(right)
    assert len(index.matching(TEXTS.name, wanted, limit=5_000)) == 4_500
    assert index.matching(TEXTS.name, wanted, ids).tolist() == right
    assert index.matching(TEXTS.name, wanted, []).tolist() == []


def test_matching_sees_every_change(index: VectorIndex) -> None:
    """Rows added, replaced, removed and loaded anew, also through another connection."""
    wanted = Condition("metadata.tenant", "eq", "us")

    def rows(first: int, *tenants: str) -> pa.Table:
        metadata = [json.dumps({"tenant": tenant}) for tenant in tenants]
        return texts(["d"] * len(tenants), first_id=first, metadata=metadata)

    def found() -> list[int]:
        return index.matching(TEXTS.name, wanted).tolist()

    index.load(TEXTS, [rows(1, "us", "them", "us")])
    assert found() == [1, 3]
    index.upsert(TEXTS, rows(3, "them", "us"))
    assert found() == [1, 4]
    index.delete(TEXTS.name, [1])
    assert found() == [4]
    if isinstance(index, MilvusIndex):
        other = open_index(index._spec, "docs")
        other.upsert(TEXTS, rows(5, "us"))
        other.close()
        assert found() == [4, 5]
    index.load(TEXTS, [rows(7, "us")])
    assert found() == [7]
    index.drop(TEXTS.name)
    with pytest.raises(NoLiveVersion):
        found()


# ------------------------------------------------------------------ searching
def test_a_search_among_ids_returns_no_other_ids(index: VectorIndex) -> None:
    """As if the collection held only these ids; missing ids are ignored."""
    rows = vectors(300)
    ids = np.random.default_rng(2).permutation(10**6)[:300].astype(np.int64) + 2**62
    index.load(HEAD, [table_of(ids, rows)])
    queries = vectors(3, seed=3)
    few = ids[10:90]
    among = np.append(few, [5, 2**61])
    [ranking] = index.search([SearchRequest(HEAD.name, queries, 20, among)])
    right = top_k(few, rows[10:90], queries, 20)
    np.testing.assert_array_equal(ranking.ids, right.ids)
    np.testing.assert_allclose(ranking.scores, right.scores, atol=1e-5)
    nothing = np.array([], np.int64)
    short, none = index.search(
        [
            SearchRequest(HEAD.name, queries, 4, ids[:2]),
            SearchRequest(HEAD.name, queries, 4, nothing),
        ]
    )
    assert [set(row) for row in short.ids.tolist()] == [{int(ids[0]), int(ids[1]), -1}] * 3
    assert none.ids.tolist() == [[-1] * 4] * 3


def test_a_search_among_ten_thousand_ids(index: VectorIndex) -> None:
    """A filter passes at most so many ids at once."""
    rows = vectors(12_000)
    ids = np.arange(12_000, dtype=np.int64) + 2**62
    index.load(HEAD, [table_of(ids, rows)])
    [ranking] = index.search([SearchRequest(HEAD.name, rows[11_000:11_002], 5, ids[:10_000])])
    right = top_k(ids[:10_000], rows[:10_000], rows[11_000:11_002], 5)
    np.testing.assert_array_equal(ranking.ids, right.ids)


def test_a_search_within_time_equals_a_plain_search(index: VectorIndex) -> None:
    """The same rankings in the same order; no time gives no ranking."""
    other = CollectionSpec(f"docs_{OLD}_l05_h01", "head", 8)
    index.load(HEAD, [table_of(range(30), vectors(30))])
    index.load(other, [table_of(range(100, 130), vectors(30, seed=1))])
    requests = [SearchRequest(one.name, vectors(2, seed=4), 5) for one in (HEAD, other, HEAD)]
    for found, right in zip(
        index.search_within(requests, 60.0), index.search(requests), strict=True
    ):
        assert found is not None
        np.testing.assert_array_equal(found.ids, right.ids)
    assert index.search_within(requests, 0.0) == [None, None, None]
    assert index.search_within([], 5.0) == []
    with pytest.raises(NoLiveVersion):
        index.search_within([SearchRequest(f"docs_{OLD}_l05_h07", vectors(1), 3)], 60.0)
