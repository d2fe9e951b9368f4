"""What every VectorIndex promises of vectors of 16 bits.

Run by exact search in memory, and by our client against a server in this process that speaks
Milvus 2.4's protocol; with MRAG_TEST_MILVUS set to a real server from 2.4 on, by that one too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.domain.precision import queries, rounded
from mrag_pipeline.errors import BadVectors, ConfigError
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import SearchRequest, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.vectors import VectorType
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, vectors
from tests.support.milvus_protocol_server import protocol_server
from tests.support.milvus_server import SERVER, empty

HALVES: list[VectorType] = ["float16", "bfloat16"]


@pytest.fixture(params=HALVES)
def dtype(request: pytest.FixtureRequest) -> VectorType:
    found: VectorType = request.param
    return found


@pytest.fixture(params=["exact", "protocol", *(["server"] if SERVER else [])])
def index(request: pytest.FixtureRequest, dtype: VectorType) -> Iterator[VectorIndex]:
    """An empty index named docs, of vectors of that type."""
    with ExitStack() as held:
        opened: VectorIndex
        if request.param == "exact":
            opened = ExactIndex("docs", dtype)
        else:
            uri = SERVER
            if request.param == "protocol":
                uri, _ = held.enter_context(protocol_server("v2.4.15"))
            else:
                empty(uri)
            try:
                opened = open_index(
                    MilvusSpec(uri=uri, vector_dtype=dtype, insert_rows=100), "docs"
                )
            except ConfigError as error:
                pytest.skip(f"{uri}: {error.expected}")
        held.callback(opened.close)
        yield opened


def test_16_bit_vectors_are_read_back_bit_for_bit(index: VectorIndex, dtype: VectorType) -> None:
    """What was loaded and what was upserted: nothing is rounded a second time."""
    rows = rounded(vectors(250) * 7, dtype)
    assert index.load(HEAD, [table_of(range(200), rows[:200])]) == 200
    index.upsert(HEAD, table_of(range(150, 250), rows[150:]))
    found = index.vectors(HEAD.name, range(250))
    np.testing.assert_array_equal([found[i] for i in range(250)], rows)
    assert found[0].dtype == np.float32
    assert index.vectors(HEAD.name, [999]) == {}


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e6])
def test_search_among_halves_is_exact(index: VectorIndex, dtype: VectorType, length: float) -> None:
    """Cosines of the rounded rows and the rounded query, whatever the query's length.

    float16 could not say a query of a million.
    """
    rows, asked = rounded(vectors(300), dtype), vectors(5, seed=3) * np.float32(length)
    index.load(HEAD, [table_of(range(300), rows)])
    [ranking] = index.search([SearchRequest(HEAD.name, asked, 20)])
    expected = top_k(np.arange(300), rows, queries(asked, dtype), 20)
    np.testing.assert_array_equal(ranking.ids, expected.ids)
    np.testing.assert_allclose(ranking.scores, expected.scores, atol=1e-5)


def test_a_rounded_row_is_its_own_nearest(index: VectorIndex, dtype: VectorType) -> None:
    """As in verify: a search with a staged row finds that row with cosine 1."""
    rows = rounded(vectors(300), dtype)
    index.load(HEAD, [table_of(range(300), rows)])
    [ranking] = index.search([SearchRequest(HEAD.name, rows[:20], 1)])
    assert ranking.ids[:, 0].tolist() == list(range(20))
    np.testing.assert_allclose(ranking.scores, 1.0, atol=2e-3 if dtype == "bfloat16" else 3e-4)


def test_numbers_that_would_be_lost_are_refused(index: VectorIndex, dtype: VectorType) -> None:
    """Rows staged as float32: neither loaded nor added."""
    with pytest.raises(BadVectors, match=dtype):
        index.load(HEAD, [table_of(range(10), vectors(10))])
    assert not index.is_complete(HEAD, 10)
    index.load(HEAD, [table_of(range(10), rounded(vectors(10), dtype))])
    with pytest.raises(BadVectors, match=dtype):
        index.upsert(HEAD, table_of([10], vectors(1)))
    assert index.count(HEAD.name) == 10


@pytest.mark.parametrize("version", ["v2.3.5", "v2.2.16"])
def test_16_bit_vectors_are_refused_for_older_servers(version: str, dtype: VectorType) -> None:
    """The error comes when the index is opened, before anything is created."""
    with protocol_server(version) as (uri, server):
        with pytest.raises(ConfigError, match=dtype) as caught:
            open_index(MilvusSpec(uri=uri, vector_dtype=dtype), "docs")
        assert "2.4" in caught.value.expected
        assert not server.requests("CreateCollection")


def test_16_bit_vectors_are_refused_for_lite(tmp_path: Path, dtype: VectorType) -> None:
    """Milvus Lite stores float32 only."""
    with pytest.raises(ConfigError, match=dtype):
        open_index(MilvusSpec(uri=str(tmp_path / "x.db"), vector_dtype=dtype), "docs")


def test_a_collection_keeps_its_type_when_the_config_changes(dtype: VectorType) -> None:
    """The live version is read, searched and synced as it is; a new one is as configured."""
    rows = rounded(vectors(50), dtype)
    other = replace(HEAD, name=HEAD.name.replace("h00", "h01"))
    with protocol_server("v2.5.13") as (uri, server):
        halves = open_index(MilvusSpec(uri=uri, vector_dtype=dtype), "docs")
        halves.load(HEAD, [table_of(range(50), rows)])
        halves.close()
        index = open_index(MilvusSpec(uri=uri), "docs")
        index.upsert(HEAD, table_of([50], rows[:1]))
        np.testing.assert_array_equal(index.vectors(HEAD.name, [50])[50], rows[0])
        [ranking] = index.search([SearchRequest(HEAD.name, rows[1:2], 1)])
        assert ranking.ids.tolist() == [[1]]
        index.load(other, [table_of(range(50), vectors(50))])
        np.testing.assert_array_equal(index.vectors(other.name, [7])[7], vectors(50)[7])
        kinds = [server.collections[one.name].vector.data_type for one in (HEAD, other)]
        assert len(set(kinds)) == 2
        index.close()


def test_16_bit_vectors_take_two_bytes_a_number(dtype: VectorType) -> None:
    """The message and the server's rows hold two bytes for each number."""
    with protocol_server("v2.4.15") as (uri, server):
        index = open_index(MilvusSpec(uri=uri, vector_dtype=dtype), "docs")
        index.load(HEAD, [table_of(range(50), rounded(vectors(50), dtype))])
        held = server.collections[HEAD.name].rows.values()
        assert {len(row["vector"]) for row in held} == {2 * HEAD.dim}
        index.close()
