"""A sync of a table reads the rows that can have changed; in SQLite, and PostgreSQL where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.corpus.sql_rows import SqlRows
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.errors import NoLiveVersion
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.stages.sync.compare import SyncScope
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.living_index import Living
from tests.support.postgres_server import postgres_server

sqlalchemy = pytest.importorskip("sqlalchemy")
NUM_ROWS = 30


@dataclass
class LivingTable(Living):
    """An index that is built from a table."""

    corpus: CorpusSpec = field(default_factory=lambda: CorpusSpec(""))

    def reader(self) -> Any:
        """As the flows open it: by the reading that the live version keeps."""
        try:
            reading = live_record(self.index).reading()
        except NoLiveVersion:
            reading = None
        return open_corpus(self.corpus, reading)

    def run(self, statement: str) -> None:
        """Changes the table."""
        engine = sqlalchemy.create_engine(self.corpus.uri)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(statement))
        engine.dispose()


def _made(folder: Path, uri: str, kind: str) -> LivingTable:
    spec = CorpusSpec(uri, query="articles", updated_field="updated_at")
    living = LivingTable(folder / "staging", [], corpus=spec)
    living.run("DROP TABLE IF EXISTS articles")
    living.run(f"CREATE TABLE articles (id INTEGER PRIMARY KEY, text TEXT, updated_at {kind})")
    rows = (
        f"({i}, 'Text number {i}.', '2020-01-{i + 1:02}T12:00:00+00:00')" for i in range(NUM_ROWS)
    )
    living.run(f"INSERT INTO articles VALUES {', '.join(rows)}")
    return living


@pytest.fixture(
    params=[
        pytest.param(("sqlite", "TEXT"), id="sqlite"),
        pytest.param(("postgresql", "TIMESTAMPTZ"), id="postgresql", marks=pytest.mark.slow),
    ]
)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> LivingTable:
    """A table of thirty rows, one changed on each day of January 2020; an index of it is live."""
    dialect, kind = request.param
    uri = f"sqlite:///{tmp_path}/shop.db"
    if dialect == "sqlite":
        (tmp_path / "shop.db").touch()
    else:
        uri = request.getfixturevalue("postgres")
    made = _made(tmp_path, uri, kind)
    made.ingest()
    return made


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of an empty database of a server of the tests' own."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def num_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many rows were read since it was last asked."""
    rows: list[object] = []
    real = SqlRows._document

    def counted(self: SqlRows, row: Any) -> Any:
        rows.append(row)
        return real(self, row)

    monkeypatch.setattr(SqlRows, "_document", counted)

    def count() -> int:
        number = len(rows)
        rows.clear()
        return number

    return count


def difference(living: LivingTable, **scope: Any) -> tuple[int, int, int]:
    """A sync: how many documents it added, changed and removed."""
    found = living.sync(SyncScope(**scope))[0].difference
    return found.added, found.changed, found.removed


def test_only_rows_that_can_have_changed_are_read(
    table: LivingTable, num_read: Callable[[], int]
) -> None:
    """Those changed since, those added whatever their time; what was deleted is found by its id."""
    num_read()
    assert difference(table) == (0, 0, 0)
    assert num_read() == 1  # the newest: it is not before itself
    table.run(
        "UPDATE articles SET text = 'New.', updated_at = '2020-02-01T00:00:00+00:00' WHERE id = 3"
    )
    table.run("INSERT INTO articles VALUES (99, 'Late.', '1999-01-01T00:00:00+00:00')")
    table.run("DELETE FROM articles WHERE id IN (7, 8)")
    assert difference(table) == (1, 1, 2)
    assert num_read() == 3
    assert difference(table) == (0, 0, 0)
    assert num_read() == 1


def test_a_late_change_is_found_within_the_overlap(table: LivingTable) -> None:
    """Of a transaction that ended after its time, or a clock that is behind; else by `full`."""
    table.run(
        "UPDATE articles SET text = 'A', updated_at = '2020-01-30T11:55:00+00:00' WHERE id = 3"
    )
    table.run(
        "UPDATE articles SET text = 'B', updated_at = '2020-01-30T11:45:00+00:00' WHERE id = 4"
    )
    assert difference(table) == (0, 1, 0)
    table.spec = replace(table.spec, overlap_s=1200.0)
    assert difference(table) == (0, 1, 0)
    table.run("UPDATE articles SET text = 'C' WHERE id = 5")  # its time stays
    assert difference(table) == (0, 0, 0)
    assert difference(table, full=True) == (0, 1, 0)


def test_what_is_touched_without_a_change_is_read_once(
    table: LivingTable, num_read: Callable[[], int]
) -> None:
    """The version keeps the newest time that a sync has seen, also where it changed nothing."""
    table.corpus = replace(table.corpus, metadata_fields=())  # the time is no part of the documents
    difference(table)
    table.run("UPDATE articles SET updated_at = '2020-03-01T00:00:00+00:00'")
    table.run("UPDATE articles SET updated_at = '2020-03-02T00:00:00+00:00' WHERE id = 1")
    num_read()
    assert difference(table) == (0, 0, 0)
    assert num_read() == NUM_ROWS
    assert difference(table) == (0, 0, 0)
    assert num_read() == 1


def test_a_row_without_a_time_is_always_read(
    table: LivingTable, num_read: Callable[[], int]
) -> None:
    """It cannot be told when it changed."""
    table.run("UPDATE articles SET updated_at = NULL, text = 'A' WHERE id IN (3, 4)")
    num_read()
    assert difference(table) == (0, 2, 0)
    assert num_read() == 3


def test_a_time_in_the_future_hides_nothing(
    table: LivingTable, num_read: Callable[[], int]
) -> None:
    """A table that has one is read whole."""
    table.run("UPDATE articles SET updated_at = '9000-01-01T00:00:00+00:00' WHERE id = 3")
    difference(table)
    num_read()
    table.run(
        "UPDATE articles SET text = 'A', updated_at = '2020-04-01T00:00:00+00:00' WHERE id = 4"
    )
    assert difference(table) == (0, 1, 0)
    assert num_read() == 2 * NUM_ROWS  # a slice with a change once more


def test_other_settings_read_every_row(table: LivingTable, num_read: Callable[[], int]) -> None:
    """They make other documents of the same rows; the sync after that one goes by the times."""
    table.corpus = replace(table.corpus, metadata_fields=())
    num_read()
    assert difference(table) == (0, NUM_ROWS, 0)
    assert num_read() == 2 * NUM_ROWS
    assert difference(table) == (0, 0, 0)
    assert num_read() == 1


def test_what_was_pushed_is_compared_with_its_row(
    table: LivingTable, num_read: Callable[[], int]
) -> None:
    """A sync makes the version equal to the table: rows that did not change are read too."""
    table.push([Document("3", "Pushed.")])
    num_read()
    assert difference(table) == (0, 1, 0)
    assert num_read() == 2 * NUM_ROWS


def test_part_of_the_corpus_is_read_whole(table: LivingTable, num_read: Callable[[], int]) -> None:
    """Who names documents wants them compared, and the watermark stays where it was."""
    table.run("UPDATE articles SET text = 'A' WHERE id = 5")
    table.run(
        "UPDATE articles SET text = 'B', updated_at = '2020-05-01T00:00:00+00:00' WHERE id = 6"
    )
    assert difference(table, only={"5"}) == (0, 1, 0)
    assert difference(table) == (0, 1, 0)


def test_several_corpora_skip_each_its_own(
    table: LivingTable, num_read: Callable[[], int], tmp_path: Path
) -> None:
    """By their prefixed ids; files among them are read as ever."""
    (tmp_path / "a.jsonl").write_text('{"id": "3", "text": "Of a file."}\n', "utf-8")
    sources = (CorpusSpec(f"{tmp_path}/a.jsonl"), replace(table.corpus, id_prefix="shop-"))
    both = LivingTable(tmp_path / "both", [], corpus=CorpusSpec("both", sources=sources))
    both.ingest()
    num_read()
    assert difference(both) == (0, 0, 0)
    assert num_read() == 1
    table.run(
        "UPDATE articles SET text = 'A', updated_at = '2020-02-01T00:00:00+00:00' WHERE id = 3"
    )
    table.run("DELETE FROM articles WHERE id = 4")
    (tmp_path / "a.jsonl").write_text('{"id": "3", "text": "Changed."}\n', "utf-8")
    assert difference(both) == (0, 2, 1)
