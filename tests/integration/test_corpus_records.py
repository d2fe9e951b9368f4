"""Records of every format: bad documents, field names and ids."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.corpus import CorpusSpec
from tests.support.corpus_files import only, read, written

# ------------------------------------------------------------------ bad documents
BAD_LINES = {
    b"{": "not JSON",
    b"[1, 2]": "a JSON array, expected an object",
    b'"text"': "a JSON string, expected an object",
    b'{"id": "a", "text": "\xff"}': "not UTF-8: invalid start byte at byte 21",
    b'{"id": "a", "text": null}': "is null",
    b'{"id": "a", "text": ""}': "is empty",
    b'{"id": "a", "text": " \\n\\u00a0\\u0000"}': "is empty",
    b'{"id": "a", "text": 17}': "is of type int, expected a string",
    b'{"id": "a", "text": ["x"]}': "is of type list, expected a string",
    b'{"id": "a", "body": "x"}': "no field 'text', found: body, id",
    b'{"id": {"x": 1}, "text": "x"}': "is of type dict, expected a string or a number",
    b'{"id": null, "text": "x"}': "is null or missing",
    b'{"id": true, "text": "x"}': "is of type bool",
    b'{"id": NaN, "text": "x"}': "is nan, expected",
    b'{"id": "", "text": "x"}': "is empty",
    b'{"id": "a\\u0000b", "text": "x"}': "contains a NUL",
    b'{"id": "\\ud83d", "text": "x"}': "half a surrogate pair",
    b'{"id": "' + b"i" * 600 + b'", "text": "x"}': "longer than 512 bytes",
    b'{"id": ' + b"9" * 5000 + b', "text": "x"}': "longer than 512 bytes",
    b'{"id": "a", "text": ' + b"[" * 100_000 + b"}": "lists or objects in each other",
    b'{"id": "a", "text": "x", "m": "' + b"m" * 40_000 + b'"}': "of metadata, expected at most",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: repr(line[:40]))
def test_a_bad_line_is_a_dead_letter_that_says_why(tmp_path: Path, line: bytes) -> None:
    """Only that line is set aside; its location and reason can be printed and stored."""
    good = b'{"id": "%s", "text": "fine"}\n'
    path = written(tmp_path / "a.jsonl", good % b"first" + line + b"\n" + good % b"last")
    spec: dict[str, Any] = {"id_field": "id", "text_field": "text", "metadata_fields": ("m",)}
    first, bad, last = read(path, **spec)
    assert isinstance(first, Document)
    assert isinstance(last, Document)
    assert (first.id, last.id) == ("first", "last")
    assert isinstance(bad, DeadLetter)
    assert BAD_LINES[line] in bad.reason
    assert bad.source == "a.jsonl, byte 32"
    (bad.document_id + bad.source + bad.reason).encode("utf-8")


def test_lines_of_compressed_files_are_reported_by_number(tmp_path: Path) -> None:
    """These lines are counted, so users get the number that their editor shows."""
    data = gzip.compress(b'{"id": "a", "text": "x"}\n\nnonsense\n')
    _, bad = read(written(tmp_path / "a.jsonl.gz", data))
    assert isinstance(bad, DeadLetter)
    assert bad.source == "a.jsonl.gz:3"


def test_characters_that_utf8_cannot_hold_are_repaired_in_texts(tmp_path: Path) -> None:
    """Half an emoji or a NUL costs one character, not the document; a whole emoji stays."""
    line = '{"id": 1, "text": "a\\ud83d b\\u0000c \\ud83d\\ude00", "title": "t\\udc00"'
    line += ', "m": "\\ud800"}'
    item = only(read(written(tmp_path / "a.jsonl", line)))
    assert isinstance(item, Document)
    assert item.text == "a\ufffd b c \U0001f600"
    assert (item.title, item.metadata) == ("t\ufffd", {"m": "\ufffd"})


def test_metadata_holds_what_json_can(tmp_path: Path) -> None:
    """Null is absent; NaN is left out by name, and so are long texts unless they are named."""
    row = {"text": "x", "n": 1, "f": 0.5, "b": True, "s": "s", "none": None, "list": [1, "é"],
           "long": "y" * 2_000, "big": 2**70}  # fmt: skip
    line = json.dumps(row)[:-1] + ', "nan": NaN, "inf": Infinity}'
    path = written(tmp_path / "a.jsonl", line)
    every = only(read(path))
    named = only(read(path, metadata_fields=("list", "long", "nan", "n")))
    assert isinstance(every, Document)
    assert isinstance(named, Document)
    assert every.metadata == {"n": 1, "f": 0.5, "b": True, "s": "s", "list": [1, "é"],
                              "big": str(2**70)}  # fmt: skip
    assert every.remarks == (
        "metadata 'long': longer than 1,000 characters: left out",
        "metadata 'nan': NaN or infinity: left out",
        "metadata 'inf': NaN or infinity: left out",
    )
    assert named.metadata == {"list": [1, "é"], "long": "y" * 2_000, "n": 1}
    assert only(read(path, metadata_fields=())).metadata == {}  # type: ignore[union-attr]


def test_a_bom_and_windows_line_ends_are_not_part_of_the_data(tmp_path: Path) -> None:
    """Files of Windows editors read as others do."""
    data = b'\xef\xbb\xbf{"id": 1, "text": "x"}\r\n\r\n{"id": 2, "text": "y"}\r\n'
    for name, content in (("a.jsonl", data), ("b.jsonl.gz", gzip.compress(data))):
        items = read(written(tmp_path / name, content))
        assert [item.id for item in items if isinstance(item, Document)] == ["1", "2"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz"])
def test_a_twenty_megabyte_line_is_read_in_bounded_memory(tmp_path: Path, name: str) -> None:
    """A giant document is a dead letter and is never held in memory completely."""
    big = "x" * 20_000_000
    if "json" in name:
        rows = [json.dumps({"id": i, "text": t}) for i, t in enumerate(["one", big, "three"])]
        data = "\n".join(rows).encode()
    else:
        data = f'id,text\n0,one\n1,"{big}"\n2,three\n'.encode()
    path = written(tmp_path / name, gzip.compress(data, 1) if name.endswith("gz") else data)
    del data, big
    tracemalloc.start()
    items = read(path, max_bytes=3_000_000, max_document_mb=1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [item.text if isinstance(item, Document) else "DEAD" for item in items] == [
        "one",
        "DEAD",
        "three",
    ]
    dead = items[1]
    assert isinstance(dead, DeadLetter)
    assert "20,000,0" in dead.reason
    assert "at most 1,000,000" in dead.reason
    assert peak < 12_000_000  # the same for 60 MB: buffers of a megabyte, and the limit


# ------------------------------------------------------------------ fields
def test_the_usual_field_names_are_found_and_reported(tmp_path: Path) -> None:
    """The description says which fields were inferred."""
    path = written(tmp_path / "a.jsonl", '{"_id": 7, "Headline": "H", "body": "x", "n": 1}')
    reader = open_corpus(CorpusSpec(str(path)))
    assert "id <- '_id' (inferred), title <- 'Headline' (inferred), text <- 'body' (inferred)" in (
        reader.describe()
    )
    assert only(read(path)) == Document("7", "x", "H", {"n": 1}, "a.jsonl, byte 0")


def test_the_only_string_field_is_the_text(tmp_path: Path) -> None:
    """With one string field there is nothing to choose."""
    item = only(read(written(tmp_path / "a.jsonl", '{"id": 1, "plot_of_film": "x", "n": 1}')))
    assert isinstance(item, Document)
    assert item.text == "x"


def test_a_text_field_that_cannot_be_inferred_is_an_error(tmp_path: Path) -> None:
    """Two candidates with unusual names: the message lists the fields."""
    path = written(tmp_path / "a.csv", "foo,bar\nx,y\n")
    with pytest.raises(ConfigError, match="the text field cannot be inferred from: foo, bar"):
        read(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_misspelt_field_is_refused_with_a_suggestion(tmp_path: Path, name: str) -> None:
    """The error lists the fields and suggests the nearest, before anything is read."""
    row = {"id": "1", "article_text": "x"}
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / name)
    else:
        lines = json.dumps(row) if name == "a.jsonl" else "id,article_text\n1,x\n"
        written(tmp_path / name, lines)
    reader = open_corpus(CorpusSpec(str(tmp_path / name), text_field="articel_text"))
    with pytest.raises(ConfigError) as caught:
        next(reader.slices(10**9))
    assert "has no field 'articel_text' (text_field)" in caught.value.found
    assert caught.value.expected == "one of: id, article_text"
    assert caught.value.fix == "did you mean 'article_text'?"


def test_a_field_with_repeated_values_is_not_inferred_as_the_id(tmp_path: Path) -> None:
    """A url shared by records is metadata."""
    lines = "\n".join(json.dumps({"url": "u", "text": text}) for text in ("a", "b"))
    items = read(written(tmp_path / "a.jsonl", lines))
    ids = [item.id for item in items if isinstance(item, Document)]
    assert len(set(ids)) == 2
    assert "u" not in ids


def test_an_id_by_content_outlives_edits_elsewhere_and_another_format(tmp_path: Path) -> None:
    """Without an id field, only a record's own change changes its id."""
    row = {"title": "T", "text": "stays"}
    path = written(tmp_path / "a.jsonl", json.dumps(row))
    before = only(read(path))
    written(path, json.dumps({"title": "N", "text": "new"}) + "\n" + json.dumps(row))
    after = read(path)[1]
    in_csv = only(read(written(tmp_path / "b.csv", "title,text\nT,stays\n")))
    assert isinstance(before, Document)
    assert before.id == after.id == in_csv.id  # type: ignore[union-attr]
    changed = only(read(written(path, json.dumps(row | {"text": "changed"}))))
    assert changed.id != before.id  # type: ignore[union-attr]


def test_ids_are_strings_whatever_they_were(tmp_path: Path) -> None:
    """Whole numbers that pandas stored as floats are whole numbers."""
    lines = '{"id": 7, "text": "x"}\n{"id": 8.0, "text": "x"}\n{"id": " k ", "text": "x"}\n'
    items = read(written(tmp_path / "a.jsonl", lines))
    assert [item.id for item in items if isinstance(item, Document)] == ["7", "8", "k"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz"])
def test_a_compressed_file_cut_short_is_set_aside_whole(tmp_path: Path, name: str) -> None:
    """An incomplete download is not a smaller corpus."""
    data = gzip.compress(b'id,text\n{"id": 1, "text": "x"}\n' + os.urandom(10_000))
    written(tmp_path / name, data[:-2_000])
    item = only(read(tmp_path))
    assert isinstance(item, DeadLetter)
    assert f"{name}: Truncated" in item.reason
