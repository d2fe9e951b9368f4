"""Lite, and a server where there is one, answer direct calls as they answer pymilvus.

Vectors of 16 bits are asked of a server in this process that speaks Milvus 2.4's protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrag_pipeline.domain.precision import rounded
from mrag_pipeline.index.milvus.adapter import MilvusIndex, open_index
from mrag_pipeline.ports import SearchRequest
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.vectors import VectorType
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, HOSTILE, TEXTS, texts, vectors
from tests.support.milvus_protocol_server import protocol_server
from tests.support.milvus_server import SERVER, empty

NUM_ROWS = 300


HALVES: list[VectorType] = ["float16", "bfloat16"]


@pytest.fixture(params=["lite", *(["server"] if SERVER else [])])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MilvusIndex]:
    """A head of 300 chunks, and the texts of as many as there are hostile ones."""
    if request.param == "server":
        empty(SERVER)
    uri = SERVER if request.param == "server" else str(tmp_path / "x.db")
    with closing(open_index(MilvusSpec(uri=uri), "docs")) as opened:
        assert isinstance(opened, MilvusIndex)
        opened.load(HEAD, [table_of(range(NUM_ROWS), vectors(NUM_ROWS))])
        years = [f'{{"year": {1900 + at}, "by": ["ü", null]}}' for at in range(len(HOSTILE))]
        opened.load(TEXTS, [texts(HOSTILE, text=HOSTILE, title=HOSTILE, metadata=years)])
        yield opened


def requests() -> list[SearchRequest]:
    few = np.array([3, 5, 250])
    return [
        SearchRequest(HEAD.name, vectors(4, seed=9), 10),
        SearchRequest(HEAD.name, vectors(1, seed=8), NUM_ROWS + 5),  # more than there are
        SearchRequest(HEAD.name, vectors(2, seed=7), 7, few),  # fewer match than are asked for
        SearchRequest(HEAD.name, vectors(2, seed=7), 7, np.array([], np.int64)),
        SearchRequest(TEXTS.name, vectors(3, dim=4, seed=6), 5),
    ]


def refused(*_: Any, **__: Any) -> Any:
    raise AssertionError("pymilvus was asked")


def test_searches_are_those_of_pymilvus(
    index: MilvusIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids and scores are equal to the last bit; only the first search uses pymilvus."""
    theirs = index.search(requests())
    monkeypatch.setattr(index._client, "search", refused)
    for ours in (index.search(requests()), index.search_within(requests(), 20.0)):
        for mine, other in zip(ours, theirs, strict=True):
            assert mine is not None
            assert mine.ids.tobytes() == other.ids.tobytes()
            assert mine.scores.tobytes() == other.scores.tobytes()


@pytest.mark.parametrize("dtype", HALVES)
def test_vectors_of_16_bits_are_those_of_pymilvus(
    dtype: VectorType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries are sent, and rows read, in the collection's own type."""
    with protocol_server("v2.4.15") as (uri, _):
        spec = MilvusSpec(uri=uri, vector_dtype=dtype)
        with closing(open_index(spec, "docs")) as opened:
            assert isinstance(opened, MilvusIndex)
            opened.load(HEAD, [table_of(range(50), rounded(vectors(50), dtype))])
            asked = [SearchRequest(HEAD.name, 100 * vectors(4, seed=9), 10)]
            [theirs] = opened.search(asked)
            with monkeypatch.context() as patch:
                patch.setattr(opened._client, "search", refused)
                [ours] = opened.search(asked)
            assert ours.ids.tobytes() == theirs.ids.tobytes()
            assert ours.scores.tobytes() == theirs.scores.tobytes()
            with monkeypatch.context() as patch:
                patch.setattr(opened._client, "query", refused)
                found = opened.vectors(HEAD.name, range(50))
            with monkeypatch.context() as patch:
                patch.setattr(opened._direct, "query", lambda *_: lambda: None)
                expected = opened.vectors(HEAD.name, range(50))
            assert {one: row.tobytes() for one, row in found.items()} == {
                one: row.tobytes() for one, row in expected.items()
            }


def test_rows_are_those_of_pymilvus(index: MilvusIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field of every row, vectors to the last bit; missing rows are left out."""

    def read() -> Sequence[Any]:
        wanted = [*range(1, len(HOSTILE) + 1), 10**15]
        rows = index.vectors(HEAD.name, range(NUM_ROWS))
        return [
            index.chunks(TEXTS.name, wanted),
            index.look_up(TEXTS.name, wanted, [])[0],
            {one: row.tobytes() for one, row in rows.items()},
            [sorted(map(repr, block)) for block in index.marks(TEXTS.name)],
            index.chunks_of_document(TEXTS.name, HOSTILE[0]),
        ]

    with monkeypatch.context() as patch:
        patch.setattr(index._direct, "query", lambda *_: lambda: None)
        theirs = read()
    with monkeypatch.context() as patch:
        query = index._client.query

        def only_counts(*arguments: Any, **options: Any) -> Any:
            assert options["output_fields"] == ["count(*)"]
            return query(*arguments, **options)

        patch.setattr(index._client, "query", only_counts)
        ours = read()
    assert ours == theirs
    assert len(ours[0]) == len(HOSTILE)
    assert ours[0][1].metadata == {"year": 1900, "by": ["ü", None]}
