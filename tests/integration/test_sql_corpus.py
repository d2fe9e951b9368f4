"""Tables of databases as a corpus: SQLite here, PostgreSQL where it is installed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import MAX_SHARD_BYTES, Slice
from mrag_pipeline.errors import ConfigError, CorpusError, CorpusNotFound
from mrag_pipeline.library.index import Index
from mrag_pipeline.ports import CorpusReader
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from tests.support.postgres_server import postgres_server

ROWS = [
    (i, f"Title {i}", f"Text number {i} of the table.", 1.5 * i, "2026-01-01") for i in range(20)
]


def table(
    path: Path, rows: Iterable[Sequence[object]], key: str = "INTEGER PRIMARY KEY"
) -> CorpusSpec:
    """A SQLite database with a table of articles."""
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE IF EXISTS articles")
        database.execute(
            f"CREATE TABLE articles (id {key}, title TEXT, text TEXT, price REAL, updated_at TEXT)"
        )
        database.executemany("INSERT INTO articles VALUES (?, ?, ?, ?, ?)", rows)
    database.close()
    return CorpusSpec(f"sqlite:///{path}", query="articles")


def all_of(reader: CorpusReader, max_bytes: int = MAX_SHARD_BYTES) -> list[Document | DeadLetter]:
    """Everything that the reader reads, slice by slice."""
    return [item for piece in reader.slices(max_bytes) for item in reader.read([piece])]


def stamps(reader: CorpusReader) -> list[Slice]:
    """The listing."""
    return list(reader.slices(200))


def test_a_tables_rows_are_documents(tmp_path: Path) -> None:
    """Each once, in ranges of its id, with its other columns as metadata."""
    reader = open_corpus(table(tmp_path / "a.db", ROWS))
    pieces = stamps(reader)
    assert len(pieces) > 3
    documents = all_of(reader, 200)
    assert [d.id for d in documents if isinstance(d, Document)] == [str(i) for i in range(20)]
    first = documents[3]
    assert isinstance(first, Document)
    assert (first.title, first.text) == ("Title 3", "Text number 3 of the table.")
    assert first.metadata == {"price": 4.5, "updated_at": "2026-01-01"}
    assert first.source == "articles:3"
    # A slice can be read again, alone, by another reader that is given the reading.
    again = open_corpus(table(tmp_path / "a.db", ROWS), reader.reading())
    assert list(again.read([pieces[2]])) == list(reader.read([pieces[2]]))


def test_a_query_chooses_and_names(tmp_path: Path) -> None:
    """Also one with a colon in it, which is no parameter."""
    spec = table(tmp_path / "a.db", ROWS)
    query = "SELECT id AS key, text || ' at 9:30 :x' AS body FROM articles WHERE price > 20;"
    reader = open_corpus(CorpusSpec(spec.uri, query=query, id_field="key", text_field="body"))
    documents = all_of(reader)
    assert [d.id for d in documents if isinstance(d, Document)] == [str(i) for i in range(14, 20)]
    assert isinstance(documents[0], Document)
    assert documents[0].text.endswith("at 9:30 :x")


def test_text_ids_and_rows_without_one(tmp_path: Path) -> None:
    """Null ids are dead letters, not lost; equal ids are in one slice."""
    rows = [*((f"k{i:02}", *row[1:]) for i, row in enumerate(ROWS)), (None, "t", "x", 1, "")]
    items = all_of(open_corpus(table(tmp_path / "a.db", rows, "TEXT")), 200)
    assert sum(isinstance(item, DeadLetter) for item in items) == 1
    assert len({item.id for item in items if isinstance(item, Document)}) == 20


@pytest.mark.parametrize("updated", ["", "updated_at"])
def test_the_listing_changes_with_the_rows(tmp_path: Path, updated: str) -> None:
    """By their content or, where it is named, by the column that says when they changed."""
    spec = replace(table(tmp_path / "a.db", ROWS), updated_field=updated)
    before = stamps(open_corpus(spec))
    assert stamps(open_corpus(spec)) == before
    changed = [
        *ROWS[:5],
        (5, "Title 5", "Text number 5 of the tabla.", 7.5, "2026-02-02"),
        *ROWS[6:],
    ]
    table(tmp_path / "a.db", changed)
    after = stamps(open_corpus(spec))
    assert sum(old.stamp != new.stamp for old, new in zip(before, after, strict=False)) == 1


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """No database, no table, no id: each with what there is."""
    spec = table(tmp_path / "a.db", ROWS)
    with pytest.raises(CorpusNotFound, match="no database"):
        all_of(open_corpus(CorpusSpec(f"sqlite:///{tmp_path}/b.db", query="articles")))
    with pytest.raises(ConfigError, match="articles") as error:
        all_of(open_corpus(CorpusSpec(spec.uri)))
    assert "corpus.query" in error.value.fix
    with pytest.raises(CorpusError, match="no such table: nowhere"):
        all_of(open_corpus(CorpusSpec(spec.uri, query="nowhere")))
    with pytest.raises(ConfigError, match="has no id"):
        all_of(open_corpus(CorpusSpec(spec.uri, query="SELECT text, title FROM articles")))
    assert not (tmp_path / "b.db").exists()


def test_a_failure_does_not_show_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It comes from the environment, and stays there."""
    monkeypatch.setenv("MRAG_SQL_PASSWORD", "hunter2")
    spec = CorpusSpec("postgresql+psycopg://reader@127.0.0.1:1/shop", query="articles")
    pytest.importorskip("psycopg")
    with pytest.raises(CorpusError) as error:
        all_of(open_corpus(spec))
    assert "hunter2" not in str(error.value)


_READ = """
import resource, sys
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.encoder import EncoderSpec
reader = open_corpus(CorpusSpec(sys.argv[1], query=sys.argv[2], updated_field="updated_at"))
count = sum(1 for piece in reader.slices(1_000_000) for _ in reader.read([piece]))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
"""


def peak_mb(uri: str, query: str, num_rows: int) -> float:
    """The most memory of a process that lists and reads every row."""
    ended = subprocess.run(
        [sys.executable, "-c", _READ, uri, query], check=True, capture_output=True, text=True
    )
    count, peak = ended.stdout.split()
    assert int(count) == num_rows
    return float(peak)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_rows_are_read_at_flat_memory(tmp_path: Path) -> None:
    """As much for a million rows as for a tenth of them."""
    peaks = []
    for num_rows in (100_000, 1_000_000):
        path = tmp_path / f"{num_rows}.db"
        rows = ((i, "T", f"Text number {i}.", 1.0, "2026-01-01") for i in range(num_rows))
        spec = table(path, rows)
        peaks.append(peak_mb(spec.uri, "articles", num_rows))
    assert peaks[1] < peaks[0] + 10


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of an empty database of a server of the tests' own."""
    with postgres_server() as url:
        yield url


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_rows_of_postgresql(postgres: str) -> None:
    """At flat memory; dates, decimals, lists, objects and UUIDs are kept."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgres)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(
                "CREATE TABLE articles AS SELECT i AS id, 'Text number ' || i AS text, "
                "timestamptz '2026-01-01 00:00+00' AS updated_at FROM generate_series(1, 1000000) i"
            )
        )
        connection.execute(sqlalchemy.text("ALTER TABLE articles ADD PRIMARY KEY (id)"))
        connection.execute(
            sqlalchemy.text(
                "CREATE TABLE odd AS SELECT gen_random_uuid() AS id, 'Text' AS text, "
                "date '2026-01-02' AS day, 1.25::numeric AS price, ARRAY['a', 'b'] AS tags, "
                """'{"a": {"b": 1}}'::jsonb AS nested FROM generate_series(1, 40)"""
            )
        )
    engine.dispose()
    few = peak_mb(postgres, "SELECT * FROM articles WHERE id <= 100000", 100_000)
    assert peak_mb(postgres, "articles", 1_000_000) < few + 10
    documents = all_of(open_corpus(CorpusSpec(postgres, query="odd")), 300)
    assert len({d.id for d in documents if isinstance(d, Document)}) == 40
    assert isinstance(documents[0], Document)
    assert documents[0].metadata == {
        "day": "2026-01-02",
        "price": 1.25,
        "tags": ["a", "b"],
        "nested": {"a": {"b": 1}},
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_changed_row_is_synced(minilm: EncoderSpec, tmp_path: Path) -> None:
    """By its `updated_at`, with the title and text that it has now; no other row is embedded."""
    spec = table(tmp_path / "a.db", ROWS)
    corpus = {"uri": spec.uri, "query": "articles", "updated_field": "updated_at"}
    settings: dict[str, Any] = {
        "encoder": {"model": minilm.model},
        "staging": {"uri": str(tmp_path / "staging")},
        "milvus": {"uri": str(tmp_path / "index.db")},
    }
    with Index.open(index="shop", corpus=corpus, **settings) as index:
        assert index.ingest()["documents"] == len(ROWS)
        again = index.sync()
        assert (again["changed"], again["unchanged"], again["embedded_chunks"]) == (0, len(ROWS), 0)
        with sqlite3.connect(tmp_path / "a.db") as database:
            database.execute(
                "UPDATE articles SET text = 'A lighthouse keeper rows home.', "
                "updated_at = '2026-02-02' WHERE id = 7"
            )
        database.close()
        synced = index.sync()
        counts = [synced[name] for name in ("added", "changed", "removed", "embedded_chunks")]
        assert counts == [0, 1, 0, 1]
        [hit] = index.search("who rows home from the lighthouse", k=1).hits
        assert (hit.document_id, hit.metadata["updated_at"]) == ("7", "2026-02-02")
