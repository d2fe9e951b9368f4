"""Without pymilvus's private names everything goes through its public client."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient

from mrag_pipeline.domain.filters import Condition
from mrag_pipeline.index.milvus import pymilvus_private
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import SearchRequest, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, HOSTILE, TEXTS, texts, vectors

MODULES = [
    *("pymilvus.client.ts_utils", "pymilvus.client.call_context", "pymilvus.client.prepare"),
    *("pymilvus.client.types", "pymilvus.grpc_gen"),
]


def all_that_is_read(index: VectorIndex) -> list[Any]:
    """What was inserted, searched and read, in a form that can be compared."""
    index.load(HEAD, [table_of(range(50), vectors(50))])
    index.load(TEXTS, [texts(HOSTILE, text=HOSTILE, title=HOSTILE)])
    index.upsert(HEAD, table_of([50], vectors(51)[50:]))
    requests = [SearchRequest(HEAD.name, vectors(3), 5)]
    # A collection's first search is pymilvus's anyway.
    rankings = [index.search(requests)[0], index.search(requests)[0]]
    rankings += [ranking for ranking in index.search_within(requests, 30.0) if ranking is not None]
    stored = index.vectors(HEAD.name, range(60))
    return [
        [ranking.ids.tolist() for ranking in rankings],
        [ranking.scores.tobytes() for ranking in rankings],
        {chunk_id: vector.tobytes() for chunk_id, vector in stored.items()},
        index.chunks(TEXTS.name, range(1, 100)),
        index.matching(TEXTS.name, Condition("title", "exists")).tolist(),
        np.sort(np.concatenate([*index.ids(HEAD.name)])).tolist(),
    ]


def a_missing_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pymilvus_private, "MESSAGES", None)


def a_missing_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pymilvus_private, "handler_of", lambda client: None)


@pytest.mark.parametrize("lose", [a_missing_message, a_missing_handler])
def test_the_public_client_gives_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lose: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Inserts, searches and reads give the same, to the last bit."""
    with closing(open_index(MilvusSpec(uri=str(tmp_path / "one.db")), "docs")) as index:
        expected = all_that_is_read(index)
    lose(monkeypatch)
    with closing(open_index(MilvusSpec(uri=str(tmp_path / "two.db")), "docs")) as index:
        assert all_that_is_read(index) == expected


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_module_is_noticed(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """None instead of an ImportError when the package is imported."""
    assert pymilvus_private.load_messages() is not None
    monkeypatch.setitem(sys.modules, module, None)
    for parent in ("pymilvus", "pymilvus.client"):
        name = module.rpartition(".")[2]
        if hasattr(sys.modules[parent], name):
            monkeypatch.delattr(sys.modules[parent], name)
    assert pymilvus_private.load_messages() is None


def test_a_missing_name_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """None instead of an AttributeError."""
    from pymilvus.client.prepare import Prepare

    monkeypatch.delattr(Prepare, "query_request")
    assert pymilvus_private.load_messages() is None


def test_a_client_without_private_methods_has_no_handler() -> None:
    """None of the helpers fails; files are then inserted and not imported."""

    class Client(MilvusClient):
        def __init__(self) -> None:
            pass

        def __getattribute__(self, name: str) -> Any:
            if name in ("_get_connection", "_generate_call_context"):
                raise AttributeError(name)
            return super().__getattribute__(name)

    client = Client()
    assert pymilvus_private.handler_of(client) is None
    assert pymilvus_private.stub_of(client) is None
    assert pymilvus_private.call_context_of(client) is None
    assert not pymilvus_private.has_bulk_calls(client)
