"""Properties of the readers over generated files: what goes in comes out, or is set aside."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mrag_pipeline.corpus.formats.charset import codec_of
from mrag_pipeline.corpus.metadata_values import MAX_DEPTH
from mrag_pipeline.domain.dead_letters import num_set_aside
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.settings.corpus import MAX_INFERRED_CHARS
from tests.support.corpus_files import Item, read

characters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\u2028\u2029")
words = st.text(characters, min_size=1, max_size=12).filter(lambda word: bool(word.strip()))
plain_words = st.text("abcdefgh XYZ.", min_size=1, max_size=12).map(lambda word: f"a{word}z")
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | words
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
)


def read_file(name: str, data: bytes, **spec: Any) -> list[Item]:
    """The items of a corpus of one file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return read(path, **spec)


def without_nulls(value: Any) -> Any:
    """As metadata keeps it: null only within lists."""
    if isinstance(value, dict):
        kept = {name: without_nulls(one) for name, one in value.items()}
        return {name: one for name, one in kept.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0


# ------------------------------------------------------------------ JSON
@settings(max_examples=60)
@given(
    metadata=st.lists(values, min_size=1, max_size=4), layout=st.sampled_from(["lines", "array"])
)
def test_json_values_come_out_as_they_are(metadata: list[Any], layout: str) -> None:
    """As metadata, whatever stands in them, unless they are too long or too deep."""
    rows = [{"id": str(at), "text": "x", "m": value} for at, value in enumerate(metadata)]
    written = [json.dumps(row, ensure_ascii=bool(at % 2)) for at, row in enumerate(rows)]
    data = "\n".join(written) if layout == "lines" else f"[{', '.join(written)}]"
    found = read_file("a.json", data.encode())
    assert [item.id for item in found if isinstance(item, Document)] == [row["id"] for row in rows]
    for item, value in zip(found, metadata, strict=True):
        assert isinstance(item, Document)
        right = without_nulls(value)
        if (
            len(json.dumps(right, ensure_ascii=False)) <= MAX_INFERRED_CHARS
            and depth(right) < MAX_DEPTH
        ):
            assert item.metadata == ({} if right is None else {"m": right})
            assert item.remarks == ()
        else:
            assert item.remarks


# ------------------------------------------------------------------ CSV
@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(words, words, words), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    ending=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_rows_of_any_dialect_come_out(
    rows: list[tuple[str, str, str]], delimiter: str, ending: str, quoting: Any, mark: str
) -> None:
    """Every delimiter, line end and way to quote that the csv module writes."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, lineterminator=ending, quoting=quoting)
    writer.writerow(["text", "title", "other"])
    writer.writerows((f"t {text}", f"t {title}", f"t {other}") for text, title, other in rows)
    found = read_file("a.csv", (mark + written.getvalue()).encode())
    assert [(one.text, one.metadata["other"]) for one in found if isinstance(one, Document)] == [
        (f"t {text}", f"t {other}") for text, _, other in rows
    ]


# ------------------------------------------------------------------ encodings
@settings(max_examples=80)
@given(
    text=st.text(characters, min_size=1, max_size=200),
    label=st.sampled_from(
        ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "windows-1252", "windows-1251",
         "shift_jis", "gbk", "gb18030", "euc-kr", "big5", "iso-2022-jp", "koi8-r"]
    ),
)  # fmt: skip
def test_a_named_encoding_is_read_in_every_format(text: str, label: str) -> None:
    """`corpus.encoding` in a text, a line of JSON, an array and a table.

    Written as the Encoding Standard has it: Python's shift_jis gives one sign's bytes to another.
    """
    codec = codec_of(label)
    text = text.encode(codec, "ignore").decode(codec)
    assume(text.strip() and text.isprintable())
    row = json.dumps({"text": f"x {text}"}, ensure_ascii=False)
    table = io.StringIO(newline="")
    csv.writer(table).writerows([["text", "n"], [f"x {text}", "1"]])
    for name, content in {
        "a.txt": f"x {text}",
        "a.jsonl": row,
        "a.json": f"[{row}]",
        "a.csv": table.getvalue(),
    }.items():
        [item] = read_file(name, content.encode(codec), encoding=label)
        assert isinstance(item, Document), (name, item)
        assert item.text == f"x {text}", name


# ------------------------------------------------------------------ front matter, HTML
@settings(max_examples=60)
@given(
    fields=st.dictionaries(
        st.from_regex("[a-z]{2,8}", fullmatch=True), words | st.booleans() | st.integers(-99, 99)
        | st.dates().map(str) | st.lists(words, max_size=3), max_size=5,
    ),
    flow=st.booleans(),
)  # fmt: skip
def test_front_matter_comes_out_as_metadata(fields: dict[str, Any], flow: bool) -> None:
    """Whatever a YAML library writes; the text below it stays."""
    fields = {name: value for name, value in fields.items() if name != "title"}
    block = yaml.safe_dump(fields, allow_unicode=True, default_flow_style=flow) if fields else ""
    [item] = read_file("a.md", f"---\n{block}---\nThe text below.\n".encode())
    assert isinstance(item, Document)
    assert item.text == "The text below."
    assert item.metadata == fields


_OPENED = {"p": "<p>", "li": "<ul><li>", "td": "<table><tr><td>", "b": "<b>", "x": "<x-y>"}


def _page(pieces: list[tuple[str, str]]) -> str:
    opened = {
        "p": "<p>",
        "li": "<ul><li>",
        "td": "<table><tr><td>",
        "b": "<b>",
        "x": "<x-y>",
        "": "</",
    }
    return "".join(f"{opened[tag]}{word}" for tag, word in pieces)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["p", "li", "td", "b", "x"]), plain_words), min_size=1, max_size=8
    )
)
def test_every_word_of_a_page_comes_out(pieces: list[tuple[str, str]]) -> None:
    """Though no element is ever closed."""
    [item] = read_file("a.html", f"<!doctype html><title>t</title>{_page(pieces)}".encode())
    assert isinstance(item, Document)
    joined = "".join(item.text.split())
    for _, word in pieces:
        assert "".join(word.split()) in joined


# ------------------------------------------------------------------ Parquet
_WHOLE = st.integers(-(2**31), 2**31 - 1)
_SIMPLE: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "null": (pa.null(), st.none()),
    "bool": (pa.bool_(), st.booleans()),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float16": (pa.float16(), st.floats(width=16)),
    "float32": (pa.float32(), st.floats(width=32)),
    "float64": (pa.float64(), st.floats()),
    "decimal32": (pa.decimal128(7, 2), st.decimals(-9999, 9999, places=2)),
    "decimal256": (pa.decimal256(76, 40), st.decimals(-(10**30), 10**30, places=40)),
    "date32": (pa.date32(), _WHOLE),
    "date64": (pa.date64(), _WHOLE.map(lambda days: days * 86_400_000)),
    "time32": (pa.time32("ms"), st.integers(0, 86_399_999)),
    "time64": (pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
    "timestamp s": (pa.timestamp("s"), st.integers(-(2**62), 2**62)),
    "timestamp ns": (pa.timestamp("ns", "Europe/Zurich"), st.integers(-(2**63) + 1, 2**63 - 1)),
    "timestamp nowhere": (pa.timestamp("us", "Mars/Phobos"), st.integers(-(2**62), 2**62)),
    "duration": (pa.duration("ns"), st.integers(-(2**62), 2**62)),
    "string": (pa.string(), st.text(max_size=20)),
    "large_string": (pa.large_string(), st.text(max_size=20)),
    "string_view": (pa.string_view(), st.text(max_size=20)),
    "binary": (pa.binary(), st.binary(max_size=20)),
    "fixed binary": (pa.binary(4), st.binary(min_size=4, max_size=4)),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "b"])),
}


def _lists(kind: pa.DataType, one: Any) -> tuple[pa.DataType, Any]:
    return pa.list_(kind), st.lists(one, max_size=3)


def _large_lists(kind: pa.DataType, one: Any) -> tuple[pa.DataType, Any]:
    return pa.large_list(kind), st.lists(one, max_size=3)


def _fixed_lists(kind: pa.DataType, one: Any) -> tuple[pa.DataType, Any]:
    return pa.list_(kind, 2), st.lists(one, min_size=2, max_size=2)


def _structs(kind: pa.DataType, one: Any) -> tuple[pa.DataType, Any]:
    return pa.struct([("a", kind), ("b", pa.int64())]), st.fixed_dictionaries(
        {"a": one, "b": _WHOLE}
    )


def _maps(kind: pa.DataType, one: Any) -> tuple[pa.DataType, Any]:
    pairs = st.lists(st.tuples(st.sampled_from("kl"), one), max_size=3)
    return pa.map_(pa.string(), kind), pairs


_WITHIN: list[Callable[[pa.DataType, Any], tuple[pa.DataType, Any]]] = [
    lambda kind, one: (kind, one), _lists, _large_lists, _fixed_lists, _structs, _maps
]  # fmt: skip


@st.composite
def tables(draw: Any) -> pa.Table:
    """A table of an id, a text and columns of any types."""
    num_rows = draw(st.integers(1, 5))
    names = draw(st.lists(st.sampled_from(list(_SIMPLE)), min_size=1, max_size=4, unique=True))
    columns: dict[str, Any] = {
        "id": [f"d{at}" for at in range(num_rows)],
        "text": [f"text {at}" for at in range(num_rows)],
    }
    for name in names:
        kind, one = draw(st.sampled_from(_WITHIN))(*_SIMPLE[name])
        cells = st.lists(st.none() | one, min_size=num_rows, max_size=num_rows)
        try:
            columns[name] = pa.array(draw(cells), kind)
        except (pa.ArrowException, TypeError, ValueError):  # pyarrow has no such array of these
            assume(False)
    return pa.table(columns)


@settings(max_examples=120)
@given(tables())
def test_columns_of_every_type_are_read(table: pa.Table) -> None:
    """Each row is a document; its metadata is what JSON holds, and what is not is told."""
    written = io.BytesIO()
    try:
        pq.write_table(table, written, row_group_size=2)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        assume(False)
    found = read_file("a.parquet", written.getvalue())
    letters = [item for item in found if isinstance(item, DeadLetter)]
    assert [one.text for one in found if isinstance(one, Document)] == table["text"].to_pylist()
    assert num_set_aside(letters) == 0
    for row, item in enumerate(found):
        assert isinstance(item, Document)
        json.dumps(dict(item.metadata), allow_nan=False).encode()
        told = " ".join(item.remarks)
        for name in table.column_names[2:]:
            assert name in item.metadata or repr(name) in told or _is_null(table[name][row])


def _is_null(scalar: Any) -> bool:
    """Whether a column says nothing there: null, or a number that is none."""
    return not scalar.is_valid or (
        isinstance(scalar, pa.FloatScalar) and math.isnan(scalar.as_py())
    )
