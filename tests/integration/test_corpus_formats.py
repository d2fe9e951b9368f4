"""JSON arrays, CSV and Parquet: what only that format allows, and broken files."""

from __future__ import annotations

import csv
import datetime
import io
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.delimited import DelimitedFiles
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.corpus.record import Record
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.settings.corpus import CorpusSpec
from tests.support.corpus_files import only, read, written


# ------------------------------------------------------------------ JSON arrays
def test_a_json_file_of_lines_is_read_as_lines(tmp_path: Path) -> None:
    """Many files named .json hold JSON Lines."""
    items = read(written(tmp_path / "a.json", '{"text": "x"}\n{"text": "y"}\n'))
    assert [item.text for item in items if isinstance(item, Document)] == ["x", "y"]


def test_a_non_object_in_an_array_is_a_dead_letter(tmp_path: Path) -> None:
    """Its neighbours are read."""
    items = read(written(tmp_path / "a.json", ' [{"text": "x"}, 5, [1], {"text": "y"}]'))
    assert [type(item) for item in items] == [Document, DeadLetter, DeadLetter, Document]


@pytest.mark.parametrize("data", [b'[{"text": "x"}, {"te', b'[{"text": "x"}', b'[{"text": "x}]'])
def test_an_array_that_does_not_end_is_set_aside_whole(tmp_path: Path, data: bytes) -> None:
    """What is missing cannot be known; the reason names file and line."""
    item = only(read(written(tmp_path / "a.json", data)))
    assert isinstance(item, DeadLetter)
    assert re.search(r"cannot be read: .*a\.json: not JSON: .* line 1", item.reason)


def test_the_papers_wikipedia_articles() -> None:
    """1,250 articles of one bz2 JSON array, each with a title of its own."""
    folder = os.environ.get("MRAG_DATASETS")
    if not folder:
        pytest.skip("MRAG_DATASETS is not set")
    items = read(Path(folder) / "wikipedia_articles_v1.json.bz2", max_bytes=100_000)
    documents = [item for item in items if isinstance(item, Document)]
    assert len(items) == len(documents) == len({document.id for document in documents}) == 1_250
    assert all(document.title and document.metadata["label"] for document in documents)


# ------------------------------------------------------------------ CSV
@settings(max_examples=300)
@given(body=st.text(st.sampled_from('a",\n'), max_size=30), max_bytes=st.integers(1, 40))
def test_csv_records_are_what_pythons_csv_module_reads(
    body: str, max_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any quoting, cut anywhere: the same rows as csv.reader over the whole text."""
    path = written(tmp_path_factory.mktemp("csv") / "a.csv", "x,y\n" + body)
    tree, files = FileTree(str(path)), DelimitedFiles(10**6)
    file = tree.find("a.csv")
    rows_read: list[object] = []
    for piece in files.cut(tree, file, max_bytes):
        for item in files.records(tree, piece):
            rows_read.append(
                list(item.values.values()) if isinstance(item, Record) else item.reason
            )
    lines = io.StringIO(body, newline="").readlines()
    expected: list[object] = []
    rows, num_lines = csv.reader(lines), 0
    for row in rows:
        source = "".join(lines[num_lines : rows.line_num])
        num_lines = rows.line_num
        if not row:
            continue
        if "\n" in source.rstrip("\n") and not _is_strict(source):
            expected.append("a quote")
        elif len(row) != 2:
            expected.append(f"{len(row)} field(s), the header names 2")
        else:
            expected.append(row)
    shown = ["a quote" if str(row).startswith("a quote") else row for row in rows_read]
    if shown and shown[-1] == "a quote" and not _is_strict(body):
        shown, expected = shown[:-1], expected[:-1]
    assert shown == expected


def _is_strict(source: str) -> bool:
    try:
        list(csv.reader(io.StringIO(source, newline=""), strict=True))
    except csv.Error:
        return False
    return True


def test_a_quote_never_closed_is_one_dead_letter(tmp_path: Path) -> None:
    """It takes in the rest of the file, and the reason says so."""
    items = read(written(tmp_path / "a.csv", 'id,text\n1,x\n2,"y\n3,z\n'))
    assert [type(item) for item in items] == [Document, DeadLetter]
    assert isinstance(items[1], DeadLetter)
    assert items[1].reason.startswith("a quote is never closed: it takes in the rest of the file")
    assert "2 line(s), 9 bytes" in items[1].reason
    assert items[1].num_documents == 2


def test_only_the_bad_row_is_set_aside(tmp_path: Path) -> None:
    """Too few fields, or bytes that are not UTF-8."""
    items = read(written(tmp_path / "a.csv", b"id,text\n1\n2,\xff\n3,fine\n4,\n"))
    reasons = [item.reason if isinstance(item, DeadLetter) else item.text for item in items]
    assert reasons == [
        "1 field(s), the header names 2",
        "not UTF-8: invalid start byte at byte 2; it looks like windows-1252: convert the file, "
        "or set corpus.encoding",
        "fine",
        "the text ('text') is empty",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_inferred_from_the_header(tmp_path: Path, delimiter: str) -> None:
    """Spreadsheets use different delimiters in different countries."""
    data = f'id{delimiter}"the, title; it|self\tx"{delimiter}text\n1{delimiter}T{delimiter}x\n'
    item = only(read(written(tmp_path / "a.csv", data)))
    assert isinstance(item, Document)
    assert (item.id, item.text) == ("1", "x")


@pytest.mark.parametrize(
    "data", [b"\xff\x81,text\n1,x\n", b"id,id,text\n", b",,\n", b'"id,text\n1,x\n']
)
def test_a_file_without_a_header_is_set_aside_by_name(tmp_path: Path, data: bytes) -> None:
    """Not UTF-8, a field named twice, no name at all, an open quote."""
    item = only(read(written(tmp_path / "a.csv", data)))
    assert isinstance(item, DeadLetter)
    assert "a.csv: the first row is not a header" in item.reason


# ------------------------------------------------------------------ Parquet
def test_parquet_columns_of_many_types(tmp_path: Path) -> None:
    """Dictionaries and large strings are text, times are ISO text; bytes and NaN are named."""
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "text": pa.array(["x", "y"]).dictionary_encode(),
            "title": pa.array(["T", None], pa.large_string()),
            "when": pa.array([datetime.datetime(2024, 5, 1, 12), None], pa.timestamp("us")),
            "score": pa.array([float("nan"), 0.5]),
            "tags": [["a", "b"], []],
            "vector": [[0.1] * 800] * 2,
            "image": pa.array([b"\x00", b"\x01"], pa.binary()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False)
    left_out = (
        "metadata 'vector': more than 4,000 bytes a row: left out",
        "metadata 'image': bytes: left out",
    )
    assert read(tmp_path) == [
        Document("1", "x", "T", {"when": "2024-05-01T12:00:00", "tags": ["a", "b"]}, "a.parquet:1",
                 (*left_out, "metadata 'score': NaN or infinity: left out")),
        Document("2", "y", "", {"score": 0.5, "tags": []}, "a.parquet:2", left_out),
    ]  # fmt: skip


def test_only_the_row_of_a_parquet_string_that_is_not_utf8_is_set_aside(tmp_path: Path) -> None:
    """Writers do not check their strings; the other rows of the column are read."""
    raw = pa.array([b"good", b"\xff\xfe", b"fine"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"id": ["a", "b", "c"], "text": text}), tmp_path / "a.parquet")
    first, bad, last = read(tmp_path)
    assert (first.text, last.text) == ("good", "fine")  # type: ignore[union-attr]
    assert isinstance(bad, DeadLetter)
    assert (bad.document_id, bad.source) == ("b", "a.parquet:2")
    assert "cannot be read: text that is not UTF-8" in bad.reason


def test_a_row_group_is_a_slice(tmp_path: Path) -> None:
    """Row numbers continue across row groups; empty files have no slice."""
    table = pa.table({"text": [f"t{i}" for i in range(10)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4)
    pq.write_table(table.slice(0, 0), tmp_path / "b.parquet")
    reader = open_corpus(CorpusSpec(str(tmp_path)))
    slices = list(reader.slices(1))
    assert [(piece.path, piece.start, piece.stop) for piece in slices] == [
        ("a.parquet", 0, 1),
        ("a.parquet", 1, 2),
        ("a.parquet", 2, 3),
    ]
    last = list(reader.read(slices[2:]))
    assert [item.source for item in last] == ["a.parquet:9", "a.parquet:10"]


@pytest.mark.parametrize("kind", ["nonsense", "empty", "cut short"])
def test_a_broken_parquet_is_set_aside_whole(tmp_path: Path, kind: str) -> None:
    """The reason names the broken file; its neighbour is read."""
    table = pa.table({"text": ["x" * 100] * 100})
    pq.write_table(table, tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    data = {"nonsense": b"nonsense" * 10, "empty": b"", "cut short": whole[:-20]}[kind]
    written(tmp_path / "b.parquet", data)
    *rows, item = read(tmp_path)
    assert len(rows) == 100
    assert isinstance(item, DeadLetter)
    assert "b.parquet: " in item.reason
