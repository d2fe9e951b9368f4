"""JSON of every layout: read the same way, bad objects set aside one by one with their places."""

from __future__ import annotations

import codecs
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.corpus.formats.json_scan import json_pieces
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.settings.corpus import CorpusSpec
from tests.support.corpus_files import read, written

ROWS = [{"id": f"d{i}", "text": f'text {i} [with] {{odd}} "signs", \\ ☃'} for i in range(5)]
LAYOUTS = {
    "array": json.dumps(ROWS),
    "pretty array": json.dumps(ROWS, indent=2, ensure_ascii=False),
    "wrapped": json.dumps({"count": 5, "meta": {"rows": [{"no": 1}]}, "data": ROWS}),
    "pretty wrapped": json.dumps({"data": ROWS, "next": None}, indent=1),
    "two arrays": json.dumps({"train": ROWS[:2], "test": ROWS[2:]}, indent=1),
    "pretty objects": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "objects on one line": " ".join(json.dumps(row) for row in ROWS).replace("} {", "}\n{"),
    "arrays in a row": f"{json.dumps(ROWS[:2])}\n{json.dumps(ROWS[2:])}",
    "lines": "".join(json.dumps(row) + "\r\n" for row in ROWS),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_every_layout_gives_the_same_documents(
    tmp_path: Path, layout: str, name: str, encoding: str
) -> None:
    """With and without a mark, in UTF-8 and UTF-16, compressed or not, cut anywhere."""
    data = LAYOUTS[layout].encode(encoding)
    path = written(tmp_path / name, gzip.compress(data) if name.endswith(".gz") else data)
    for max_bytes in (10**9, 40):
        items = read(path, max_bytes)
        found = [(item.id, item.text) for item in items if isinstance(item, Document)]
        assert found == [(row["id"], row["text"]) for row in ROWS], items
        assert len(items) == len(ROWS)


@pytest.mark.parametrize(
    "values",
    ['"id": 12345678901234567890123', '"s": NaN', '"s": -Infinity', '"s": 1e999', '"s": 1E5'],
)
def test_numbers_are_read_in_arrays_as_on_lines(tmp_path: Path, values: str) -> None:
    """Beyond 64 bits, NaN, infinite: one behaviour for all layouts."""
    row = '{"text": "x", ' + values + "}"
    found = []
    for name, data in (("a.jsonl", f"{row}\n{row}"), ("b.json", f"[{row},\n{row}]")):
        items = read(written(tmp_path / name, data))
        found.append([(i.text, i.metadata) for i in items if isinstance(i, Document)])
    assert found[0] == found[1]
    assert len(found[0]) == 2


BAD = {
    '{"text": "x",}': "not JSON",
    '{"text": bad}': "not JSON",
    '{"text": "a\tb"}': "not JSON",
    '{"text": "a "quoted" b"}': "not JSON",
    '{"id": %s, "text": "x"}' % ("9" * 5_000): "longer than 512 bytes",
    '{"text": [1, 2)]}': "not JSON",
    "5": "a JSON number, expected an object",
    '"word"': "a JSON string, expected an object",
    '{"text": 1}': "expected a string",
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("template", ["[%s,\n%s,\n%s]", "[\n%s\n,%s\n,%s\n,]"])
def test_a_bad_object_of_an_array_is_set_aside_with_its_place(
    tmp_path: Path, bad: str, template: str
) -> None:
    """Its neighbours are read; the reason has its line, the source its number."""
    good = '{"id": "%s", "text": "fine"}'
    data = template % (good % "a", bad, good % "b")
    first, set_aside, last = read(
        written(tmp_path / "a.json", data), id_field="", text_field="text"
    )
    assert isinstance(first, Document)
    assert isinstance(last, Document)
    assert isinstance(set_aside, DeadLetter)
    assert BAD[bad] in set_aside.reason
    assert set_aside.source == "a.json#2"
    if "JSON" in BAD[bad]:
        assert f"(line {data[: data.index(bad)].count(chr(10)) + 1}, byte" in set_aside.reason


def test_bytes_that_are_not_utf8_cost_one_object(tmp_path: Path) -> None:
    """In an array as on a line; and nothing if the settings name the encoding."""
    data = b'[{"id":"a","text":"caf\xe9"},{"id":"b","text":"plain"}]'
    path = written(tmp_path / "a.json", data)
    bad, good = read(path)
    assert isinstance(bad, DeadLetter)
    assert "looks like windows-1252" in bad.reason
    assert isinstance(good, Document)
    first, _ = read(path, encoding="latin1")
    assert isinstance(first, Document)
    assert first.text == "café"


def test_files_that_were_joined_have_marks_in_the_middle(tmp_path: Path) -> None:
    """Lines and rows alike."""
    line = codecs.BOM_UTF8 + b'{"id": "a", "text": "x"}\n'
    items = read(written(tmp_path / "a.jsonl", line + line.replace(b"a", b"b")))
    assert [item.id for item in items if isinstance(item, Document)] == ["a", "b"]
    rows = codecs.BOM_UTF8 + b"id,text\n1,x\n" + codecs.BOM_UTF8 + b'"2","y\nz"\n'
    items = read(written(tmp_path / "b.csv", rows))
    assert [item.id for item in items if isinstance(item, Document)] == ["1", "2"]


def test_a_bad_first_line_does_not_change_how_lines_are_read(tmp_path: Path) -> None:
    """It is one dead letter, as it is on any other line."""
    data = '{"id": "a", "text": "cut\n{"id": "b", "text": "x"}\n{"id": "c", "text": "y"}\n'
    for name in ("a.jsonl", "b.json"):
        items = read(written(tmp_path / name, data))
        assert [type(item) for item in items] == [DeadLetter, Document, Document]


def test_an_object_with_a_text_of_its_own_is_one_document(tmp_path: Path) -> None:
    """Its lists of objects are not documents."""
    row = {"authors": [{"name": "A"}], "id": "p", "text": "a paper"}
    for indent in (None, 2):
        items = read(written(tmp_path / "a.json", json.dumps(row, indent=indent)))
        assert [item.id for item in items if isinstance(item, Document)] == ["p"]


def test_the_plan_says_how_the_file_is_read(tmp_path: Path) -> None:
    """The layout stands first in the description."""
    path = written(tmp_path / "a.json", LAYOUTS["pretty wrapped"])
    told = open_corpus(CorpusSpec(str(path))).describe()
    assert told.startswith("JSON (the objects of the arrays in one object), 1 file(s)")


@pytest.mark.parametrize(
    "broken",
    ['"id": "b", "text": "y"}', '{"id": "b", ]"text": "y"}', "]", '{"id": "b"]', "}"],
    ids=["without {", "] in an object", "early ]", "] for }", "} alone"],
)
@pytest.mark.parametrize("rest", ["", ', "meta": {"rows": {"k": 1}}'], ids=["", "a value after it"])
def test_a_stray_bracket_in_a_wrapped_array_costs_its_object(
    tmp_path: Path, broken: str, rest: str
) -> None:
    """What stands behind it was passed over without a word."""
    first, others = '{"id": "a", "text": "x"}', '{"id": "c", "text": "z"}, {"id": "d", "text": "z"}'
    path = written(tmp_path / "a.json", f'{{"data": [{first}, {broken}, {others}]{rest}}}')
    items = read(path, max_bytes=20)
    documents = {item.id for item in items if isinstance(item, Document)}
    assert {"a", "d"} <= documents
    assert "c" in documents or any(isinstance(item, DeadLetter) for item in items)


class _InPieces(io.BytesIO):
    size = 1

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.size)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(
    st.lists(values.filter(lambda v: v is not None), max_size=6), st.integers(1, 9), st.booleans()
)
@settings(max_examples=200)
def test_the_scanner_finds_what_the_parser_finds(
    elements: list[object], size: int, ascii_only: bool
) -> None:
    """Whatever the pieces in which the file is read."""
    stream = _InPieces(
        json.dumps(elements, indent=1, ensure_ascii=ascii_only).encode("utf-8", "replace")
    )
    stream.size = size
    expected = json.loads(
        json.dumps(elements, indent=1, ensure_ascii=ascii_only).encode("utf-8", "replace")
    )
    assert [json.loads(piece.data) for piece in json_pieces(stream, 10**6)] == expected
