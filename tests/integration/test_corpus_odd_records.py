"""Records that tools write by mistake: read right where the meaning is plain, else told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.corpus import CorpusSpec
from tests.support.corpus_files import Item, only, read, written

LINES = [json.dumps({"id": f"d{i}", "text": f"text {i}"}) for i in range(4)]


def texts(items: list[Item]) -> list[str]:
    return [item.text for item in items if isinstance(item, Document)]


def remarks(items: list[Item]) -> list[str]:
    return [remark for item in items if isinstance(item, Document) for remark in item.remarks]


@pytest.mark.parametrize(
    "data",
    [
        ",\n".join(LINES) + ",\n",  # an array without its brackets
        "".join(f"\x1e{line}\n" for line in LINES),  # RFC 7464
        "\r".join(LINES) + "\r",
        "\r\n\r\n".join(LINES),
        "\ufeff" + "\n\n".join(LINES),
    ],
)
def test_lines_of_json_are_read_however_they_are_parted(tmp_path: Path, data: str) -> None:
    """Commas, record separators, old line ends, blank lines and marks between them cost nothing."""
    path = written(tmp_path / "a.jsonl", data)
    assert texts(read(path)) == texts(read(path, 1)) == [f"text {i}" for i in range(4)]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(
    "bad", ["[" * 20_000 + "]" * 20_000, '{"a":' * 20_000 + "1" + "}" * 20_000]
)
def test_json_of_thousands_of_levels_is_one_dead_letter(
    tmp_path: Path, suffix: str, bad: str
) -> None:
    """Its neighbour is read; the reason says what it is, in no words of Python's."""
    lines = [f'{{"id": "a", "text": "x", "n": {bad}}}', LINES[1]]
    data = "\n".join(lines) if suffix == ".jsonl" else f"[{','.join(lines)}]"
    deep, good = read(written(tmp_path / f"a{suffix}", data), text_field="text")
    assert isinstance(deep, DeadLetter)
    assert "too many lists or objects in each other" in deep.reason
    assert isinstance(good, Document)


def test_an_integer_of_thousands_of_digits_is_kept_as_text(tmp_path: Path) -> None:
    """Python's own limit on digits is not the user's problem."""
    line = '{"id": "a", "text": "x", "n": %s}' % ("9" * 5_000)
    item = only(read(written(tmp_path / "a.jsonl", line), metadata_fields=("n",)))
    assert isinstance(item, Document)
    assert item.metadata == {"n": "9" * 5_000}


def test_a_name_that_stands_twice_is_told(tmp_path: Path) -> None:
    """The last value counts, as everywhere in JSON; the first is not lost in silence."""
    item = only(read(written(tmp_path / "a.jsonl", '{"id":"a","text":"one","text":"two"}')))
    assert texts([item]) == ["two"]
    assert remarks([item]) == ["field 'text' stands twice: the last one counts"]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_quote_in_a_name_counts_what_it_takes_in(tmp_path: Path, indent: int | None) -> None:
    """Where objects stand in a row, until a quote sets it right."""
    rows = [json.dumps({"id": f"d{i}", "text": f"text {i}"}, indent=indent) for i in range(6)]
    rows[1] = rows[1].replace('"id"', '"i"d"')
    rows[4] = rows[4].replace('"text"', '"te"xt"')
    found = read(written(tmp_path / "a.json", "[" + ",".join(rows) + "]"))
    [swallowed] = [item.num_documents for item in found if isinstance(item, DeadLetter)]
    assert swallowed == 4
    assert texts(found) == ["text 0", "text 5"]


def test_an_open_quote_in_an_array_counts_the_objects_that_it_takes_in(tmp_path: Path) -> None:
    """They are set aside with it, and count towards the share that stops a run."""
    rows = [*LINES[:1], '{"id": "bad", "text": "open}', *LINES[1:3], '{"id": "z", "text": "a"b"}']
    found = read(written(tmp_path / "a.json", "[" + ", ".join([*rows, LINES[3]]) + "]"))
    letters = [item for item in found if isinstance(item, DeadLetter)]
    assert len(texts(found)) + sum(letter.num_documents for letter in letters) == 6


COLUMNS = {"id": {"0": "a", "1": "b"}, "text": {"0": "x", "1": "y"}}


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({"hits": {"hits": [{"id": 1, "text": "a"}]}}, "jq -c '.hits.hits[]'"),
        ({"a-b": {"rows": [{"text": "a"}]}}, """jq -c '.["a-b"].rows[]'"""),
        ({"d1": {"text": "a"}, "d2": {"text": "b"}}, "jq -c 'to_entries[] | {id: .key} + .value'"),
        (COLUMNS, 'to_json(orient="records", lines=True)'),
        ({"id": 1, "text": ["a", "b"]}, "text (a list)"),
    ],
)
def test_one_object_that_holds_the_records_is_told_how_to_be_read(
    tmp_path: Path, values: Any, advice: str
) -> None:
    """With the command that writes a line for each record, or with what is in the way."""
    reader = open_corpus(CorpusSpec(str(written(tmp_path / "a.json", json.dumps(values)))))
    with pytest.raises(ConfigError) as refused:
        list(reader.slices(10**9))
    assert advice in str(refused.value)


@pytest.mark.parametrize(
    ("data", "right"),
    [
        ("id,text\r1,a\r2,b\r", ["a", "b"]),
        (" id , text \n1,a\n2,b\n", ["a", "b"]),
        (",id,text\n0,1,a\n1,2,b\n", ["a", "b"]),  # as pandas writes its index
        ("id\ttext\r\n1\ta, b\r\n2\tc\r\n", ["a, b", "c"]),
    ],
)
def test_odd_tables_are_read(tmp_path: Path, data: str, right: list[str]) -> None:
    """Line ends of old Macs, spaces around names, a column without a name."""
    path = written(tmp_path / "a.csv", data)
    assert texts(read(path)) == texts(read(path, 1)) == right


def test_a_table_of_single_digits_is_not_taken_for_utf16(tmp_path: Path) -> None:
    """Every other byte of it is a tab, as of Devanagari in UTF-16."""
    names = ["text", *(f"n{i}" for i in range(40))]
    rows = ["\t".join([str(row % 10)] * 41) for row in range(30)]
    found = read(written(tmp_path / "a.tsv", "\n".join(["\t".join(names), *rows])))
    assert texts(found) == [str(row % 10) for row in range(30)]
    digits = "\t".join("1" * 200)
    assert texts(read(written(tmp_path / "b.txt", digits))) == [digits]


def test_a_column_without_a_name_is_told(tmp_path: Path) -> None:
    """Its values are no metadata."""
    found = read(written(tmp_path / "a.csv", ",id,text\n0,1,a\n"))
    assert remarks(found) == ["a column without a name: left out"]


def test_a_quote_that_closes_within_a_field_is_told(tmp_path: Path) -> None:
    """As MySQL escapes it: the row is read as Python reads it, which may not be what was meant."""
    found = read(written(tmp_path / "a.csv", 'id,text\n1,"a \\"b\\" c"\n2,"d ""e"""\n3,f "g" h\n'))
    assert texts(found)[1:] == ['d "e"', 'f "g" h']
    assert len(remarks(found)) == 1


def test_a_carriage_return_between_rows_counts_them(tmp_path: Path) -> None:
    """Line ends of two kinds: the rows that run into each other are set aside, both counted."""
    one, bad, four = read(written(tmp_path / "a.csv", "id,text\n1,a\n2,b\r3,c\n4,d\n"))
    assert texts([one, four]) == ["a", "d"]
    assert isinstance(bad, DeadLetter)
    assert bad.num_documents == 2
    assert "make them all alike" in bad.reason


def test_a_title_that_is_cut_or_left_out_is_told(tmp_path: Path) -> None:
    """Long ones are cut; lists are no titles."""
    rows = [{"title": "x" * 1_001, "text": "a"}, {"title": ["t"], "text": "b"}]
    found = read(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert remarks(found) == [
        "title 'title': longer than 1,000 characters: cut",
        "title 'title': of type list: left out",
    ]


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_text_that_a_parquet_file_holds_as_bytes_is_read(tmp_path: Path) -> None:
    """Older tools write strings so; bytes that are no UTF-8 cost their document."""
    text = pa.array([b"caf\xc3\xa9", b"\xff", b"x"], pa.binary())
    path = parquet(tmp_path / "a.parquet", id=pa.array([b"a", b"b", b"c"]), text=text)
    cafe, bad, _ = read(path)
    assert texts([cafe]) == ["café"]
    assert isinstance(bad, DeadLetter)
    assert bad.document_id == "b"


def test_a_map_with_a_key_twice_keeps_its_pairs(tmp_path: Path) -> None:
    """Neither value is dropped."""
    pairs = pa.array([[("k", 1), ("k", 2)], [("k", 3)]], pa.map_(pa.string(), pa.int64()))
    found = read(parquet(tmp_path / "a.parquet", text=["a", "b"], m=pairs))
    metadata = [item.metadata for item in found if isinstance(item, Document)]
    assert metadata == [{"m": [["k", 1], ["k", 2]]}, {"m": {"k": 3}}]


def test_a_damaged_row_group_counts_its_rows(tmp_path: Path) -> None:
    """The other row groups are read."""
    path = parquet(tmp_path / "a.parquet", text=[f"text number {i}" for i in range(6)])
    page = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = page.dictionary_page_offset or page.data_page_offset
    data[start : start + page.total_compressed_size] = bytes(page.total_compressed_size)
    found = read(written(path, bytes(data)))
    assert [item.num_documents for item in found if isinstance(item, DeadLetter)] == [2]
    assert texts(found) == [f"text number {i}" for i in (0, 1, 4, 5)]


def test_a_damaged_column_chunk_does_not_end_the_process(tmp_path: Path) -> None:
    """Pyarrow aborts when it is asked for the size of one whose histograms do not fit."""
    table = pa.table({"text": ["a", "b"], "tags": [["x"], ["y", "z"]]})
    pq.write_table(table, tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    two_levels = re.compile(rb"\x19\x26(..)(?=\x19\x46)", re.DOTALL)  # a list of two numbers
    data, num_found = two_levels.subn(b"\x19\x36\\1\x00", whole[:-8])
    assert num_found == 1
    num_bytes = int.from_bytes(whole[-8:-4], "little") + 1
    data += num_bytes.to_bytes(4, "little") + b"PAR1"
    letter = only(read(written(tmp_path / "a.parquet", data), text_field="text"))
    assert isinstance(letter, DeadLetter)
    assert "rows 1 to 2 cannot be read" in letter.reason
    assert letter.num_documents == 2


def test_a_column_whose_name_is_no_text_costs_its_file(tmp_path: Path) -> None:
    """The others of the folder are read."""
    data = parquet(tmp_path / "a.parquet", text=["x"], naame=["y"]).read_bytes()
    written(tmp_path / "a.parquet", data.replace(b"naame", b"n\xe1ame"))
    parquet(tmp_path / "b.parquet", text=["fine"])
    broken, fine = read(tmp_path)
    assert isinstance(broken, DeadLetter)
    assert "a column's name is not UTF-8" in broken.reason
    assert texts([fine]) == ["fine"]


def test_a_broken_file_does_not_choose_the_fields_of_the_others(tmp_path: Path) -> None:
    """It is set aside, though what it begins with has no text."""
    written(tmp_path / "a.json", '[{"id": "x"}, {"id": "y", ')
    written(tmp_path / "b.json", f"[{LINES[0]}]")
    reader = open_corpus(CorpusSpec(str(tmp_path)))
    assert reader.reading()["text"] == "text"
    assert texts(read(tmp_path)) == ["text 0"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.jsonl.xz"])
def test_an_archive_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    """Naming a format would not help."""
    reader = open_corpus(CorpusSpec(str(written(tmp_path / name, b"PK"))))
    with pytest.raises(ConfigError, match="unpack it first"):
        list(reader.slices(10**9))
