"""Loading a real Milvus server: killed at each step, by inserts and by its own bulk import.

Needs `pip install --no-deps milvus==2.3.5`, which carries the server; skips elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient

from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.errors import ConfigError, IndexUnavailable, PlanRefused
from mrag_pipeline.index.milvus.adapter import MilvusIndex
from mrag_pipeline.ports import SearchRequest
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.version_collections import collections_of
from mrag_pipeline.stages.versions.lookup import live_record
from mrag_pipeline.staging.bulk_files import IN_PLACE_BYTES, BulkFolder
from tests.support.crash_scenarios import FIRST
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, HOSTILE, TEXTS, texts, vectors
from tests.support.living_index import Living, assert_same, audited
from tests.support.milvus_server import Server, milvus_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = ["get_bulk_insert_state", "create_index", "load_collection", "batch_insert", "flush",
         "do_bulk_insert"]  # fmt: skip
TOKEN = "root:Milvus"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests, which asks for a token."""
    place = tmp_path_factory.mktemp("milvus")
    with milvus_server(place, authorization_enabled=True) as made:
        yield made


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRAG_MILVUS_TOKEN", TOKEN)


def opened(
    server: Server,
    name: str,
    bulk: Path | None = None,
    bulk_path: str = "",
    db: str = "",
    in_place_bytes: int = IN_PLACE_BYTES,
) -> MilvusIndex:
    spec = MilvusSpec(uri=server.uri, timeout_s=20, build_timeout_s=40, bulk_min_rows=1, db_name=db)
    files = BulkFolder(str(bulk), bulk_path, in_place_bytes=in_place_bytes) if bulk else None
    return MilvusIndex(spec, name, files)


@pytest.mark.parametrize(
    ("step", "in_place_bytes"),
    [
        *((step, IN_PLACE_BYTES) for step in STEPS),
        *(("get_bulk_insert_state", 0), ("do_bulk_insert", 0)),  # of staged files, where they are
    ],
)
def test_a_server_killed_at_any_step_of_a_load_costs_nothing(
    server: Server, tmp_path: Path, step: str, in_place_bytes: int
) -> None:
    """SIGKILL while it works on that call; the same command again: equal counts, audit clean."""
    name = f"{step.replace('_', '')}{in_place_bytes}"
    living = Living(tmp_path / "staging", FIRST, shard_bytes=200, num_heads=3, name=name)
    bulk = tmp_path / "bulk" if "bulk" in step else None
    with closing(opened(server, name, bulk, in_place_bytes=in_place_bytes)) as index:
        killed = _killing(server, index, step)
        with pytest.raises(IndexUnavailable):
            replace(living, index=index).ingest()
        assert killed.is_set()
    server.start()
    with closing(opened(server, name, bulk, in_place_bytes=in_place_bytes)) as index:
        again = replace(living, index=index)
        again.ingest()
        record = live_record(index)
        counts = {index.count(one.name) for one in collections_of(record)}
        assert counts == {record.num_chunks}
        assert [str(one) for one in audited(again).findings] == []
        assert_same(again, again.rebuilt(tmp_path / "rebuilt"))


def test_imported_rows_equal_inserted_rows(server: Server, tmp_path: Path) -> None:
    """Heads bit for bit and searched exactly; texts and JSON of every kind; files gone after."""
    rows, ids = vectors(3_000), np.arange(3_000) + 2**62
    metadata = ['{"by": "Zoë 𝄞", "year": 2024, "open": true}', *["{}"] * (len(HOSTILE) - 1)]
    table = texts(HOSTILE, text=HOSTILE, title=HOSTILE, metadata=metadata)
    with (
        closing(opened(server, "docs", tmp_path)) as imported,
        closing(opened(server, "docs")) as inserted,
    ):
        halves = [table_of(ids[at : at + 1_500], rows[at : at + 1_500]) for at in (0, 1_500)]
        for _ in range(2):  # again: the same, once
            assert imported.load(HEAD, halves) == 3_000
        found = imported.vectors(HEAD.name, ids[:50].tolist())
        np.testing.assert_array_equal([found[i] for i in ids[:50].tolist()], rows[:50])
        [ranking] = imported.search([SearchRequest(HEAD.name, rows[:3], 10)])
        np.testing.assert_array_equal(ranking.ids, top_k(ids, rows, rows[:3], 10).ids)
        assert imported.load(TEXTS, [table]) == len(HOSTILE)
        every = range(1, len(HOSTILE) + 1)
        there = imported.chunks(TEXTS.name, every)
        assert inserted.load(TEXTS, [table]) == len(HOSTILE)
        assert there == inserted.chunks(TEXTS.name, every)
        assert there[1].metadata == {"by": "Zoë 𝄞", "year": 2024, "open": True}
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_load_over_another_runs_imports_waits_for_them(server: Server, tmp_path: Path) -> None:
    """Tasks that a dead run left neither double the rows nor hold up the server's others."""
    rows = vectors(50_000)
    with closing(opened(server, "docs", tmp_path)) as index:

        class Died(Exception):
            pass

        def dies(_: int) -> None:
            raise Died

        for _ in range(2):
            with pytest.raises(Died):
                index.load(HEAD, [table_of(range(50_000), rows)], dies)
        assert index.load(HEAD, [table_of(range(100), rows[:100])]) == 100
        other = replace(HEAD, name=HEAD.name.replace("h00", "h01"))
        started = time.monotonic()
        assert index.load(other, [table_of(range(100), rows[:100])]) == 100
        assert time.monotonic() - started < 60
        assert index.count(HEAD.name) == 100


def test_files_that_the_server_does_not_see_are_refused(server: Server, tmp_path: Path) -> None:
    """The message names the file and the setting to change."""
    with (
        closing(opened(server, "docs", tmp_path, "/no/such/place")) as index,
        pytest.raises(PlanRefused, match="/no/such/place/docs_") as caught,
    ):
        index.load(HEAD, [table_of(range(10), vectors(10))])
    assert "milvus.bulk_path" in caught.value.fix


def test_a_database_of_its_own_and_a_token(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call goes to milvus.db_name; without the right token none goes anywhere."""
    client = MilvusClient(server.uri, token=TOKEN)
    client.create_database("tenant")
    with (
        closing(opened(server, "docs", db="tenant")) as mine,
        closing(opened(server, "docs", tmp_path, db="tenant")) as imports,
        closing(opened(server, "docs")) as others,
    ):
        others.drop(HEAD.name)
        assert mine.load(HEAD, [table_of(range(100), vectors(100))]) == 100
        mine.upsert(HEAD, table_of([100], vectors(1)))
        mine.delete(HEAD.name, [0])
        assert mine.count(HEAD.name) == 100
        assert others.collections() == [] or HEAD.name not in others.collections()
        assert others.count(HEAD.name) == 0
        assert imports.load(HEAD, [table_of(range(30), vectors(30))]) == 30
        assert others.count(HEAD.name) == 0
    for token in ("", "root:wrong"):
        monkeypatch.setenv("MRAG_MILVUS_TOKEN", token)
        with pytest.raises(ConfigError, match="token"):
            opened(server, "docs")
    client.close()


def test_an_index_of_another_type_is_built_and_searched_as_asked(server: Server) -> None:
    """HNSW with its own parameters, wide enough to find what exact search finds."""
    spec = MilvusSpec(
        uri=server.uri,
        index_type="HNSW",
        index_params={"M": 32},
        search_params={"ef": 400},
    )
    rows = vectors(3_000)
    with closing(MilvusIndex(spec, "docs")) as index:
        index.load(HEAD, [table_of(range(3_000), rows)])
        told = index._client.describe_index(HEAD.name, "vector")
        assert (told["index_type"], told["M"], told["efConstruction"]) == ("HNSW", "32", "200")
        [ranking] = index.search([SearchRequest(HEAD.name, rows[:20], 10)])
        exact = top_k(np.arange(3_000), rows, rows[:20], 10)
        assert np.mean(ranking.ids == exact.ids) > 0.95


def test_more_collections_than_there_may_be_are_refused_in_planning(server: Server) -> None:
    """Those that are there already count once."""
    spec = MilvusSpec(uri=server.uri, max_collections=1)
    with closing(opened(server, "docs")) as index:
        for name in index._client.list_collections():
            index.drop(name)
        index.load(HEAD, [table_of(range(10), vectors(10))])
    with closing(MilvusIndex(spec, "docs")) as index:
        index.check_limits([HEAD], 10)
        with pytest.raises(PlanRefused, match="1 collections are there, and 1 would come"):
            index.check_limits([HEAD, TEXTS], 10)


def _killing(server: Server, index: MilvusIndex, step: str) -> threading.Event:
    """Ends the server while it works on the first such call."""
    handler: Any = index._client._get_connection()
    call = getattr(handler, step)
    killed, lock = threading.Event(), threading.Lock()

    def kill() -> None:
        with lock:
            if not killed.is_set():
                server.kill()
                killed.set()

    def dying(*args: Any, **kwargs: Any) -> Any:
        timer = threading.Timer(0.05, kill)
        timer.start()
        try:
            return call(*args, **kwargs)
        finally:
            timer.join()

    setattr(handler, step, dying)
    return killed
