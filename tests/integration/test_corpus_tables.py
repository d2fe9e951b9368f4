"""Delta and Iceberg tables as a corpus: real tables, written by the libraries of the formats."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import ConfigError, CorpusError, CorpusNotFound
from mrag_pipeline.library.index import Index
from mrag_pipeline.settings.corpus import CorpusSpec
from mrag_pipeline.settings.encoder import EncoderSpec

deltalake = pytest.importorskip("deltalake")
pyiceberg_config = pytest.importorskip("pyiceberg.utils.config")
sql_catalog = pytest.importorskip("pyiceberg.catalog.sql")


def rows(*numbers: int, text: str = "Text number") -> pa.Table:
    """Rows with an id, a text, a language and what else a table may hold."""
    return pa.Table.from_pylist(
        [
            {
                "id": i,
                "text": f"{text} {i}.",
                "lang": "de" if i % 2 else "en",
                "day": datetime.date(2026, 1, 2),
                "price": Decimal("1.25"),
                "tags": ["a", "b"],
            }
            for i in numbers
        ]
    )


@dataclass
class Table:
    """A table that a test writes to."""

    uri: str
    append: Callable[[pa.Table], None]
    delete: Callable[[str], None]
    version: Callable[[], str]


def delta(folder: Path) -> Table:
    """A Delta table, partitioned by language."""
    path = str(folder / "delta")
    deltalake.write_deltalake(path, rows(1, 2, 3), partition_by=["lang"])
    return Table(
        path,
        lambda more: deltalake.write_deltalake(path, more, mode="append"),
        lambda condition: deltalake.DeltaTable(path).delete(condition),
        lambda: str(deltalake.DeltaTable(path).version()),
    )


def iceberg(folder: Path) -> Table:
    """An Iceberg table of a catalog in SQLite."""
    (folder / "lake").mkdir()
    catalog = sql_catalog.SqlCatalog(
        "main", uri=f"sqlite:///{folder}/lake/catalog.db", warehouse=f"file://{folder}/lake"
    )
    catalog.create_namespace("shop")
    catalog.create_table("shop.articles", schema=rows(1).schema).append(rows(1, 2, 3))

    def table() -> Any:
        return catalog.load_table("shop.articles")

    return Table(
        f"{folder}/lake/shop/articles",
        lambda more: table().append(more),
        lambda condition: table().delete(condition),
        lambda: str(table().current_snapshot().snapshot_id),
    )


@pytest.fixture(params=[delta, iceberg], ids=["delta", "iceberg"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    """A table of three rows, of each format."""
    made: Table = request.param(tmp_path)
    return made


def read(uri: str, **spec: object) -> list[Document | DeadLetter]:
    """Everything in the table, slice by slice."""
    reader = open_corpus(CorpusSpec(uri, **spec))  # type: ignore[arg-type]
    return [item for piece in reader.slices(10**9) for item in reader.read([piece])]


def ids(items: list[Document | DeadLetter]) -> list[str]:
    return sorted(item.id for item in items if isinstance(item, Document))


def test_a_tables_rows_are_documents(table: Table) -> None:
    """With what a column holds as metadata, one that only folders name among them."""
    documents = read(table.uri)
    assert ids(documents) == ["1", "2", "3"]
    [first] = [item for item in documents if isinstance(item, Document) and item.id == "1"]
    assert first.text == "Text number 1."
    assert first.metadata == {"lang": "de", "day": "2026-01-02", "price": 1.25, "tags": ["a", "b"]}


def test_only_the_tables_own_files_are_read(table: Table) -> None:
    """Not those of rows that were deleted, nor what lies beside them."""
    table.append(rows(4, 5))
    table.delete("id = 2")
    assert ids(read(table.uri)) == ["1", "3", "4", "5"]


def test_a_plan_is_read_as_the_table_was_then(table: Table) -> None:
    """By another reader, after rows were added and deleted: a resumed run reads the same."""
    planned = open_corpus(CorpusSpec(table.uri))
    pieces = list(planned.slices(10**9))
    before = list(planned.read(pieces))
    table.append(rows(9))
    table.delete("id = 1")
    later = open_corpus(CorpusSpec(table.uri), planned.reading())
    assert list(later.read(pieces)) == before
    assert ids(read(table.uri)) == ["2", "3", "9"]
    assert list(open_corpus(CorpusSpec(table.uri)).slices(10**9)) != pieces


def test_a_version_can_be_named(table: Table) -> None:
    """It stays what it was; one that is none is refused."""
    version = table.version()
    table.append(rows(9))
    assert ids(read(table.uri, snapshot=version)) == ["1", "2", "3"]
    assert version in open_corpus(CorpusSpec(table.uri, snapshot=version)).describe()
    for wrong in ("77", "latest"):
        with pytest.raises((ConfigError, CorpusError)) as caught:
            read(table.uri, snapshot=wrong)
        assert "snapshot" in str(caught.value)


def test_a_large_delta_file_is_shared_by_row_groups(tmp_path: Path) -> None:
    """A slice each, of one file."""
    properties = deltalake.WriterProperties(max_row_group_size=10)
    deltalake.write_deltalake(tmp_path / "t", rows(*range(35)), writer_properties=properties)
    reader = open_corpus(CorpusSpec(str(tmp_path / "t")))
    pieces = list(reader.slices(10**9))
    assert len({piece.path for piece in pieces}) == 1
    assert [len(list(reader.read([piece]))) for piece in pieces] == [10, 10, 10, 5]


def test_an_iceberg_table_is_found_by_its_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pyiceberg's own config names it; by one metadata file too."""
    made = iceberg(tmp_path)
    monkeypatch.setenv("PYICEBERG_CATALOG__MAIN__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__MAIN__URI", f"sqlite:///{tmp_path}/lake/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__MAIN__WAREHOUSE", f"file://{tmp_path}/lake")
    # It reads them when it is imported.
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", pyiceberg_config.Config())
    assert ids(read("iceberg:main/shop.articles")) == ["1", "2", "3"]
    with pytest.raises(CorpusError, match="nothing"):
        read("iceberg:main/shop.nothing")
    oldest = min((Path(made.uri) / "metadata").glob("*.metadata.json"))
    assert read(str(oldest), format="iceberg") == []  # before the first row


def test_what_is_not_there_is_said(table: Table, tmp_path: Path) -> None:
    """No table, and a version whose files were removed."""
    kind = "delta" if "delta" in table.uri else "iceberg"
    with pytest.raises(CorpusNotFound, match="table at"):
        read(str(tmp_path / "nothing"), format=kind)
    reader = open_corpus(CorpusSpec(table.uri))
    pieces = list(reader.slices(10**9))
    for path in Path(table.uri).rglob("*.parquet"):
        os.unlink(path)
    with pytest.raises(CorpusError, match="table at"):
        list(open_corpus(CorpusSpec(table.uri), reader.reading()).read(pieces))


def test_a_folder_of_parquet_files_is_no_table(tmp_path: Path) -> None:
    """It is read as the files that it holds."""
    import pyarrow.parquet as pq

    (tmp_path / "metadata").mkdir()
    pq.write_table(rows(1, 2), tmp_path / "metadata" / "a.parquet")
    assert ids(read(str(tmp_path))) == ["1", "2"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_table_is_ingested_and_synced(minilm: EncoderSpec, table: Table, tmp_path: Path) -> None:
    """A row that is added, and one that is deleted."""
    settings: dict[str, Any] = {
        "encoder": {"model": minilm.model},
        "staging": {"uri": str(tmp_path / "staging")},
        "milvus": {"uri": str(tmp_path / "index.db")},
        "sync": {"max_deleted_share": 0.5},
    }
    with Index.open(index="lake", corpus={"uri": table.uri}, **settings) as index:
        assert index.ingest()["documents"] == 3
        table.append(rows(4, text="A lighthouse keeper rows home, number"))
        table.delete("id = 2")
        synced = index.sync()
        assert [synced[name] for name in ("added", "changed", "removed")] == [1, 0, 1]
        [hit] = index.search("who rows home from the lighthouse", k=1).hits
        assert hit.document_id == "4"
    shutil.rmtree(tmp_path / "staging")
