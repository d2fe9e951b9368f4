"""Milvus Lite as a process meets it: held by another, killed at any point, opened again."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.errors import ConfigError, IndexBusy, IndexUnavailable, PlanRefused
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import SearchRequest, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.fake_staging import table_of
from tests.support.index_rows import HEAD, OLD, TEXTS, a_record, publish, texts, vectors
from tests.support.lite_files import wait_until_merged
from tests.support.milvus_lite_server import lite_server

NUM_ROWS = 3_000

# Runs in another process: opens the database and does what the test appended.
_PRELUDE = """
import os, signal, sys, time
from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.settings.milvus import MilvusSpec
from tests.support.index_rows import HEAD, OLD, a_record, publish, vectors
from tests.support.fake_staging import table_of
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
index = open_index(MilvusSpec(uri=sys.argv[1], insert_rows=500), "docs")
rows = [table_of(range(3_000), vectors(3_000))]
"""


def spec(path: Path) -> MilvusSpec:
    return MilvusSpec(uri=str(path / "x.db"))


def run(path: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PRELUDE + code, str(path / "x.db")],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_kill_between_data_and_log_doubles_no_row(tmp_path: Path) -> None:
    """The log's rows are in a data file, which Lite merges with others when it opens them."""
    code = """
from milvus_lite.storage.wal import WAL
index.load(HEAD, rows)
for number in range(2):
    index.upsert(HEAD, table_of([number], vectors(1)))
WAL.close_and_delete = die
index.upsert(HEAD, table_of([3], vectors(1)))
"""
    assert run(tmp_path, code).returncode == -signal.SIGKILL
    for _ in range(2):  # what the log holds is stored when it is closed
        with closing(open_index(spec(tmp_path), "docs")) as index:
            index.upsert(HEAD, table_of([4], vectors(1)))
            wait_until_merged(tmp_path / "x.db", [HEAD.name])
    with closing(open_index(spec(tmp_path), "docs")) as index:
        ids = [int(i) for block in index.ids(HEAD.name) for i in block]
    assert sorted(ids) == list(range(NUM_ROWS))


def test_a_log_that_no_data_file_has_is_kept(tmp_path: Path) -> None:
    """Killed before the rows were in a data file, and opened twice: none is lost."""
    code = """
from milvus_lite.engine import collection
index.load(HEAD, rows)
collection.execute_flush = die
index.upsert(HEAD, table_of([5_000], vectors(1)))
"""
    assert run(tmp_path, code).returncode == -signal.SIGKILL
    for _ in range(2):
        with closing(open_index(spec(tmp_path), "docs")) as index:
            assert index.count(HEAD.name) == NUM_ROWS + 1


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the database open."""
    code = _PRELUDE + "print('open', flush=True)\ntime.sleep(60)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "x.db")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.wait()


def test_a_database_of_another_process_is_busy(
    tmp_path: Path, holder: subprocess.Popen[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """The second process is told who may have it and what to do, and no traceback is printed."""
    with pytest.raises(IndexBusy, match=r"x\.db is open in another process") as caught:
        open_index(spec(tmp_path), "docs")
    assert "milvus-lite server" in caught.value.fix
    assert capfd.readouterr() == ("", "")
    holder.kill()
    holder.wait()
    open_index(spec(tmp_path), "docs").close()


def test_closing_releases_the_database_to_another_process(tmp_path: Path) -> None:
    """Closing this process's last index releases the lock, not before."""
    one, two = open_index(spec(tmp_path), "docs"), open_index(spec(tmp_path), "more")
    one.close()
    assert "IndexBusy" in run(tmp_path, "").stderr
    two.close()
    assert run(tmp_path, "").returncode == 0


@pytest.mark.parametrize(
    ("point", "code"),
    [
        (
            "before the first row",
            "type(index._client._get_connection()).batch_insert = die",
        ),
        (
            "between two batches",
            "told = iter(range(9)); kill = lambda n: next(told) == 3 and die()",
        ),
        ("before the flush", "type(index._client).flush = die"),
        ("before the index", "type(index._client).create_index = die"),
    ],
)
def test_a_load_that_is_killed_is_not_complete(tmp_path: Path, point: str, code: str) -> None:
    """Wherever kill -9 hits, the collection counts as not there and the same load finishes it."""
    script = f"kill = None\n{code}\nindex.load(HEAD, rows, kill)\nprint('survived')\n"
    ended = run(tmp_path, script)
    assert ended.returncode == -signal.SIGKILL, (point, ended.stderr)
    index = open_index(spec(tmp_path), "docs")
    try:
        assert not index.is_complete(HEAD, NUM_ROWS)
        assert index.load(HEAD, [table_of(range(NUM_ROWS), vectors(NUM_ROWS))]) == NUM_ROWS
        assert index.is_complete(HEAD, NUM_ROWS)
        [ranking] = index.search([SearchRequest(HEAD.name, vectors(NUM_ROWS)[:2], 1)])
        assert ranking.ids[:, 0].tolist() == [0, 1]
    finally:
        index.close()


def test_what_was_loaded_survives_a_kill(tmp_path: Path) -> None:
    """A process that dies without closing loses no collection, alias or record."""
    code = """
index.load(HEAD, rows)
publish(index, OLD)
index.write_record(a_record())
die()
"""
    assert run(tmp_path, code).returncode == -signal.SIGKILL
    index = open_index(spec(tmp_path), "docs")
    try:
        assert index.is_complete(HEAD, NUM_ROWS)
        assert index.is_complete(TEXTS, 1)
        assert index.live() == OLD
        found = index.record(OLD)
        assert found is not None
        assert found.to_json() == a_record().to_json()
    finally:
        index.close()


def test_an_opened_again_database_answers_as_before(tmp_path: Path) -> None:
    """Rankings, rows, vectors and the live version are the same after closing and opening."""

    def seen(index: VectorIndex) -> list[object]:
        [ranking] = index.search([SearchRequest(HEAD.name, vectors(3, seed=5), 10)])
        return [
            ranking.ids.tolist(),
            ranking.scores.tolist(),
            index.chunks(TEXTS.name, [1]),
            index.chunks_of_document(TEXTS.name, "a"),
            {i: v.tolist() for i, v in index.vectors(HEAD.name, [3, 4]).items()},
            index.live(),
            index.collections(),
            [record.to_json() for record in index.records()],
        ]

    index = open_index(spec(tmp_path), "docs")
    index.load(HEAD, [table_of(range(NUM_ROWS), vectors(NUM_ROWS))])
    publish(index, OLD)
    index.write_record(a_record())
    before = seen(index)
    index.close()
    index = open_index(spec(tmp_path), "docs")
    assert seen(index) == before
    index.close()


@pytest.mark.parametrize("left", ["created", "dropped"])
def test_a_folder_without_its_schema_is_no_obstacle(tmp_path: Path, left: str) -> None:
    """A kill while creating or dropping must not block the collection's name."""
    index = open_index(spec(tmp_path), "docs")
    folder = tmp_path / "x.db" / "collections" / HEAD.name
    if left == "dropped":
        index.load(HEAD, [table_of(range(10), vectors(10))])
        index.close()
        (folder / "schema.json").unlink()
        index = open_index(spec(tmp_path), "docs")
    else:
        folder.mkdir(parents=True)
    assert not index.is_complete(HEAD, 10)
    assert index.load(HEAD, [table_of(range(10), vectors(10))]) == 10
    index.close()


def test_a_record_is_written_after_its_collections_creation_was_killed(tmp_path: Path) -> None:
    """Lite then has a folder without a schema, which stopped every later ingest."""
    open_index(spec(tmp_path), "docs").close()
    left = tmp_path / "x.db" / "collections" / "docs_records"
    left.mkdir(parents=True)
    (left / "schema.json.tmp").write_text("{")
    index = open_index(spec(tmp_path), "docs")
    index.write_record(a_record())
    stored = index.record(OLD)
    assert stored is not None
    assert stored.to_json() == a_record().to_json()
    index.close()


def test_half_a_collections_files_are_not_complete(tmp_path: Path) -> None:
    """A collection without its data is not complete and can be loaded again."""
    index = open_index(spec(tmp_path), "docs")
    index.load(HEAD, [table_of(range(10), vectors(10))])
    index.close()
    folder = tmp_path / "x.db" / "collections" / HEAD.name
    for file in folder.rglob("*.parquet"):
        file.unlink()
    index = open_index(spec(tmp_path), "docs")
    assert not index.is_complete(HEAD, 10)
    assert index.load(HEAD, [table_of(range(10), vectors(10))]) == 10
    assert index.is_complete(HEAD, 10)
    index.close()


def test_a_record_is_read_old_or_new_while_it_is_replaced(tmp_path: Path) -> None:
    """A reader beside a writer never sees a mix."""
    index = open_index(spec(tmp_path), "docs")
    records = [replace(a_record(), config={"text": mark * 200_000}) for mark in "ab"]
    whole = {record.to_json() for record in records}
    index.write_record(records[0])
    done = threading.Event()
    seen: list[str] = []

    def read() -> None:
        while not done.is_set():
            found = index.record(OLD)
            assert found is not None
            seen.append(found.to_json())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(12):
        index.write_record(records[turn % 2])
    done.set()
    reader.join()
    index.close()
    assert len(seen) > 3
    assert set(seen) <= whole


def test_the_same_lines_work_on_a_lite_server(tmp_path: Path) -> None:
    """Several processes share a database that `milvus-lite server` holds."""
    with lite_server(tmp_path / "x.db") as server:
        index = open_index(MilvusSpec(uri=server.uri, timeout_s=2), "docs")
        assert index.describe().startswith("Milvus Lite ")
        assert index.load(HEAD, [table_of(range(10), vectors(10))]) == 10
        publish(index, OLD)
        index.write_record(a_record())
        assert index.live() == OLD
        assert [r.id for r in index.chunks_of_document(TEXTS.name, "a")] == [1]
        assert index.size_bytes() is None
        server.process.kill()
        server.process.wait()
        with pytest.raises(IndexUnavailable):
            index.count(HEAD.name)
        index.close()


def test_a_missing_server_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    """A closed port is reported as unavailable within the timeout, without a page of logs."""
    began = time.monotonic()
    with pytest.raises(IndexUnavailable, match=r"127\.0\.0\.1:9"):
        open_index(MilvusSpec(uri="http://127.0.0.1:9", timeout_s=1), "docs")
    assert time.monotonic() - began < 10
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("uri", ["index", "s3://bucket/x.db", "ftp://host", ""])
def test_a_wrong_uri_is_a_config_error(uri: str) -> None:
    """The URI is neither a .db path nor a server."""
    with pytest.raises(ConfigError, match=r"milvus\.uri"):
        open_index(MilvusSpec(uri=uri), "docs")


def test_a_file_in_the_databases_place_is_a_config_error(tmp_path: Path) -> None:
    """Milvus Lite 2 kept a file there: it is not overwritten."""
    (tmp_path / "x.db").write_bytes(b"SQLite format 3")
    with pytest.raises(ConfigError, match="is a file"):
        open_index(spec(tmp_path), "docs")
    assert (tmp_path / "x.db").read_bytes() == b"SQLite format 3"


def test_a_folder_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    """A file above the database."""
    (tmp_path / "above").write_text("")
    with pytest.raises(ConfigError, match="above"):
        open_index(MilvusSpec(uri=str(tmp_path / "above" / "x.db")), "docs")


@pytest.mark.parametrize("name", ["DISKANN", "flat_", ""])
def test_an_index_type_that_would_brick_lite_is_refused(tmp_path: Path, name: str) -> None:
    """Lite accepts DISKANN silently and then cannot open the collection again."""
    with pytest.raises(ConfigError, match="index_type"):
        open_index(replace(spec(tmp_path), index_type=name), "docs")
    open_index(spec(tmp_path), "docs").close()


@pytest.mark.parametrize("name", ["HNSW", "IVF_FLAT", "AUTOINDEX"])
def test_approximate_indexes_load_and_survive_reopening(tmp_path: Path, name: str) -> None:
    """What the whitelist lets through can be opened again."""
    rows = vectors(2_000)
    for _ in range(2):
        index = open_index(replace(spec(tmp_path), index_type=name), "docs")
        if not index.is_complete(HEAD, 2_000):
            index.load(HEAD, [table_of(range(2_000), rows)])
        [ranking] = index.search([SearchRequest(HEAD.name, rows[:50], 1)])
        assert np.mean(ranking.ids[:, 0] == np.arange(50)) > 0.9
        index.close()


def test_a_version_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Too many dimensions, and more chunks than the disk has room for."""
    index = open_index(spec(tmp_path), "docs")
    with pytest.raises(PlanRefused, match="40000 dimensions"):
        index.check_limits([replace(HEAD, dim=40_000)], 10)
    with pytest.raises(PlanRefused, match="MB free"):
        index.check_limits([HEAD], 10**13)
    index.close()


def test_a_text_that_is_too_long_is_refused_in_words(tmp_path: Path) -> None:
    """Milvus's own limit becomes PlanRefused, which is permanent."""
    index = open_index(spec(tmp_path), "docs")
    with pytest.raises(PlanRefused, match="65535"):
        index.load(TEXTS, [texts(["a"], text=["x" * 70_000])])
    assert not index.is_complete(TEXTS, 1)
    index.close()


def test_a_session_prints_nothing(tmp_path: Path) -> None:
    """Opening, loading, refusing, failing and closing leave both streams empty."""
    code = """
index.live(); index.load(HEAD, rows); index.records()
try:
    index.activate("v" + "0" * 12)
except Exception:
    pass
try:
    index.chunks("nothing", [1])
except Exception:
    pass
index.close()
"""
    ended = run(tmp_path, code)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
