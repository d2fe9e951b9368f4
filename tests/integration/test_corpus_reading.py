"""How a corpus is read is found out once: ids, types, and what Parquet holds."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.remarks import types_told
from mrag_pipeline.errors import ConfigError, FingerprintMismatch, MragError
from mrag_pipeline.ports import CorpusReader
from mrag_pipeline.settings.corpus import CorpusSpec


def json_lines(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def documents(reader: CorpusReader) -> tuple[list[Document], list[DeadLetter]]:
    items = list(reader.read(list(reader.slices(1 << 20))))
    good = [item for item in items if isinstance(item, Document)]
    return good, [item for item in items if isinstance(item, DeadLetter)]


def ids(reader: CorpusReader) -> list[str]:
    return [document.id for document in documents(reader)[0]]


def row(name: object, text: str = "a text", **metadata: object) -> dict[str, object]:
    return {"id": name, "text": text, **metadata}


# ------------------------------------------------------------------ ids
@pytest.mark.parametrize(
    "second",
    [
        [row("b-0"), row("b-1"), row(None)],
        [row(None), {"text": "no id at all"}, row("")],
        [row("b-0"), row(["list"]), row(True), row("b-0")],
    ],
    ids=["a null", "none with an id", "odd ids"],
)
def test_the_id_field_is_that_of_the_corpus(tmp_path: Path, second: list[Any]) -> None:
    """A file whose records lack it gets no hashes: those records are set aside by name."""
    json_lines(tmp_path / "a.jsonl", *(row(f"a-{n}") for n in range(4)))
    json_lines(tmp_path / "b.jsonl", *second)
    good, dead = documents(open_corpus(CorpusSpec(str(tmp_path))))
    named = [one["id"] for one in second if isinstance(one.get("id"), str) and one["id"]]
    assert [document.id for document in good] == [f"a-{n}" for n in range(4)] + named
    assert len(dead) == len(second) - len(named)
    assert all("the id ('id') is" in letter.reason for letter in dead)


@pytest.mark.parametrize(
    "rows",
    [
        [row("x"), row("y"), row(None)],
        [row("x"), row("y"), row("x", "an update")],
        [row(1.0), row(2.0), row(None)],
    ],
    ids=["a null", "an update", "floats of pandas"],
)
def test_most_ids_are_enough(tmp_path: Path, rows: list[Any]) -> None:
    """One record without an id, or with an earlier one's, does not rename the others."""
    reader = open_corpus(CorpusSpec(str(json_lines(tmp_path / "a.jsonl", *rows))))
    assert reader.reading()["id"] == "id"


def test_a_field_that_repeats_is_no_id(tmp_path: Path) -> None:
    """Passages with the id of their document."""
    rows = [{"doc_id": n // 3, "text": f"text {n}"} for n in range(9)]
    reader = open_corpus(CorpusSpec(str(json_lines(tmp_path / "a.jsonl", *rows))))
    assert reader.reading()["id"] == ""
    assert len(set(ids(reader))) == 9


@pytest.mark.parametrize("added", [row("d0", "an update"), row(None), {"text": "x", "uuid": "u"}])
def test_a_reading_that_was_kept_names_documents_as_before(tmp_path: Path, added: Any) -> None:
    """Whatever is appended, and however much: what a sync needs."""
    path = tmp_path / "a.jsonl"
    before = open_corpus(CorpusSpec(str(json_lines(path, *(row(f"d{n}") for n in range(3))))))
    kept = before.reading()
    names = ids(before)
    json_lines(path, *(row(f"d{n}") for n in range(3)), *[added] * 5)
    assert ids(open_corpus(CorpusSpec(str(path)), kept))[:3] == names


def test_hashes_stay_hashes(tmp_path: Path) -> None:
    """Records that had no id get some: by the reading that was kept they are still hashes."""
    path = json_lines(tmp_path / "a.jsonl", {"text": "x"}, {"text": "y"})
    reader = open_corpus(CorpusSpec(str(path)))
    names = ids(reader)
    json_lines(path, {"text": "x"}, {"text": "y"}, *(row(n) for n in range(9)))
    assert ids(open_corpus(CorpusSpec(str(path)), reader.reading()))[:2] == names


def test_an_id_field_that_contradicts_the_version_is_refused(tmp_path: Path) -> None:
    """Every document would be a new one."""
    path = json_lines(tmp_path / "a.jsonl", row(1, url="u"))
    kept = open_corpus(CorpusSpec(str(path))).reading()
    with pytest.raises(FingerprintMismatch, match="names its documents by 'id'"):
        open_corpus(CorpusSpec(str(path), id_field="url"), kept)


def test_versions_without_a_reading_are_read_as_they_were(tmp_path: Path) -> None:
    """Ids by file, lists and objects left out, or as JSON text if they are named."""
    json_lines(tmp_path / "a.jsonl", row("a", tags=["x"], n=1))
    json_lines(tmp_path / "b.jsonl", row("b"), row(None))
    good, dead = documents(open_corpus(CorpusSpec(str(tmp_path)), {}))
    assert (good[0].id, good[0].metadata, dead) == ("a", {"n": 1}, [])
    assert len(good[1].id) == 32
    named = open_corpus(CorpusSpec(str(tmp_path / "a.jsonl"), metadata_fields=("tags",)), {})
    assert documents(named)[0][0].metadata == {"tags": '["x"]'}


def test_a_title_and_a_text_may_be_a_files_own(tmp_path: Path) -> None:
    """Folders of several exports."""
    json_lines(tmp_path / "a.jsonl", {"id": 1, "title": "T", "text": "x"})
    json_lines(tmp_path / "b.jsonl", {"id": 2, "headline": "H", "body": "y"})
    good, _ = documents(open_corpus(CorpusSpec(str(tmp_path))))
    assert [(one.id, one.title, one.text) for one in good] == [("1", "T", "x"), ("2", "H", "y")]


# ------------------------------------------------------------------ types
def csv_file(path: Path, *rows: dict[str, str]) -> Path:
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(written.getvalue())
    return path


def test_the_columns_of_csv_files_have_types(tmp_path: Path) -> None:
    """Of all files of the corpus; the reading says them, as the plan and the ingest print it."""
    one = {"id": "1", "text": "x", "year": "2020", "price": "1.5", "zip": "0311", "flag": "true"}
    csv_file(tmp_path / "a.csv", one, {**one, "id": "2", "year": "", "price": "-2e-3"})
    csv_file(tmp_path / "b.csv", {**one, "id": "3", "flag": "FALSE"})
    reader = open_corpus(CorpusSpec(str(tmp_path)))
    told = types_told(reader.reading()["types"])
    assert told == "boolean: 'flag', number: 'price', 'year'"
    first, second, third = documents(reader)[0]
    assert first.metadata == {"year": 2020, "price": 1.5, "zip": "0311", "flag": True}
    assert second.metadata == {"price": -0.002, "zip": "0311", "flag": True}
    assert third.metadata["flag"] is False


def test_one_text_makes_a_column_text(tmp_path: Path) -> None:
    """Also in another file, and far from the first records."""
    rows = [{"id": f"{n}", "text": "x", "n": f"{n}"} for n in range(200)]
    csv_file(tmp_path / "a.csv", *rows)
    csv_file(tmp_path / "b.csv", {"id": "x", "text": "x", "n": "n/a"})
    assert open_corpus(CorpusSpec(str(tmp_path))).reading()["types"] == {}


def test_types_of_a_version_stay(tmp_path: Path) -> None:
    """A value that does not fit any more is left out and told; the others stay numbers."""
    path = csv_file(tmp_path / "a.csv", {"id": "1", "text": "x", "n": "1"})
    kept = open_corpus(CorpusSpec(str(path))).reading()
    csv_file(path, {"id": "1", "text": "x", "n": "1"}, {"id": "2", "text": "y", "n": "n/a"})
    first, second = documents(open_corpus(CorpusSpec(str(path)), kept))[0]
    assert first.metadata == {"n": 1}
    assert (second.metadata, second.remarks) == ({}, ("metadata 'n': not a number: left out",))


def test_types_can_be_set(tmp_path: Path) -> None:
    """For every format; text keeps a column of digits as it is."""
    spec = CorpusSpec(str(csv_file(tmp_path / "a.csv", {"id": "1", "text": "x", "n": "1"})))
    as_text = CorpusSpec(spec.uri, types={"n": "text"})
    assert documents(open_corpus(as_text))[0][0].metadata == {"n": "1"}
    path = json_lines(tmp_path / "a.jsonl", row(1, year=2020), row(2, year="2020"))
    reader = open_corpus(CorpusSpec(str(path), types={"year": "number"}))
    assert [one.metadata for one in documents(reader)[0]] == [{"year": 2020}] * 2


def test_a_type_of_a_column_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """With the name that may have been meant."""
    path = csv_file(tmp_path / "a.csv", {"id": "1", "text": "x", "year": "1"})
    with pytest.raises(ConfigError, match="'yaer'") as refused:
        open_corpus(CorpusSpec(str(path), types={"yaer": "number"})).reading()
    assert "'year'" in refused.value.fix


# ------------------------------------------------------------------ Parquet
def parquet(path: Path, **columns: Any) -> Path:
    num_rows = len(next(iter(columns.values())))
    texts = {"id": [f"d{n}" for n in range(num_rows)], "text": ["a text"] * num_rows}
    pq.write_table(pa.table(texts | columns), path)
    return path


DAYS = pa.array([2**31 - 1, 1, None], pa.int32()).cast(pa.date32())
SECONDS = pa.array([2**62, 0, None], pa.int64())


@pytest.mark.parametrize(
    "column",
    [DAYS, SECONDS.cast(pa.timestamp("us")), SECONDS.cast(pa.timestamp("ms", "Mars/Phobos")),
     pa.array([2**62, 0, None], pa.int64()).cast(pa.duration("s"))],
    ids=["date", "timestamp", "zone", "duration"],
)  # fmt: skip
def test_a_value_that_python_cannot_hold_is_left_out(tmp_path: Path, column: pa.Array) -> None:
    """By name, with the document kept; not even read if the column is not wanted."""
    path = parquet(tmp_path / "a.parquet", when=column)
    good, dead = documents(open_corpus(CorpusSpec(str(path))))
    assert (len(good), dead) == (3, [])
    assert "when" not in good[0].metadata
    assert "metadata 'when': " in good[0].remarks[0]
    assert "when" in good[1].metadata
    good, _ = documents(open_corpus(CorpusSpec(str(path), metadata_fields=())))
    assert [one.remarks for one in good] == [()] * 3


def test_an_id_that_python_cannot_hold_is_a_dead_letter(tmp_path: Path) -> None:
    """It costs its document only."""
    pq.write_table(pa.table({"id": DAYS, "text": ["x", "y", "z"]}), tmp_path / "a.parquet")
    good, dead = documents(open_corpus(CorpusSpec(str(tmp_path), id_field="id")))
    assert [one.id for one in good] == ["1970-01-02"]
    assert "the id ('id') cannot be read: date32[day]" in dead[0].reason


def test_times_with_a_zone_name_their_moment(tmp_path: Path) -> None:
    """With the offset of a known zone; in UTC if nobody knows the zone."""
    noon = pa.array([datetime.datetime(2024, 5, 1, 12)], pa.timestamp("us"))
    path = parquet(
        tmp_path / "a.parquet",
        known=noon.cast(pa.timestamp("us", "+02:00")),
        odd=noon.cast(pa.timestamp("us", "Mars/Phobos")),
        fine=noon.cast(pa.timestamp("ns")),
    )
    [document] = documents(open_corpus(CorpusSpec(str(path))))[0]
    assert document.metadata == {
        "known": "2024-05-01T14:00:00+02:00",
        "odd": "2024-05-01T12:00:00+00:00",
        "fine": "2024-05-01T12:00:00",
    }


def test_nested_columns_are_kept(tmp_path: Path) -> None:
    """Structs and maps as objects, lists as lists; names with dots are names."""
    owners = pa.array([{"name": "acme", "address": {"city": "Bern"}}])
    path = parquet(
        tmp_path / "a.parquet",
        owner=owners,
        tags=[["x", "y"]],
        counts=pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        **{"a.b": ["dot"], "price": [decimal.Decimal("12.50")]},
    )
    [document] = documents(open_corpus(CorpusSpec(str(path))))[0]
    assert document.metadata == {
        "owner": {"name": "acme", "address": {"city": "Bern"}},
        "tags": ["x", "y"],
        "counts": {"a": 1},
        "a.b": "dot",
        "price": 12.5,
    }
    assert document.remarks == ()


@pytest.mark.parametrize("name", ["text", "id", "other"])
def test_a_second_column_of_one_name_is_told(tmp_path: Path, name: str) -> None:
    """The first is read."""
    names = ["id", "text", "other", name]
    table = pa.Table.from_arrays([pa.array([value]) for value in ("1", "x", "o", "2nd")], names)
    pq.write_table(table, tmp_path / "a.parquet")
    [document] = documents(open_corpus(CorpusSpec(str(tmp_path))))[0]
    assert (document.id, document.text, document.metadata) == ("1", "x", {"other": "o"})
    assert document.remarks == (f"column {name!r}: a second one of this name is left out",)


SIMPLE = [
    pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
    pa.date32(), pa.date64(), pa.time32("s"), pa.time64("us"), pa.time64("ns"),
    *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.timestamp("us", zone) for zone in ("UTC", "Europe/Bern", "+23:59", "x")),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(),
    pa.binary_view(), pa.binary(4), pa.decimal32(5, 2), pa.decimal128(38, 10),
    pa.decimal256(76, 3), pa.decimal128(5, -2), pa.uuid(), pa.json_(), pa.bool8(),
]  # fmt: skip


def nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    return st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda kind: pa.list_(kind, 2)),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda kinds: pa.struct([(f"f{n}", kind) for n, kind in enumerate(kinds)])
        ),
    )


types = st.recursive(st.sampled_from(SIMPLE), nested, max_leaves=3)


def column_of(kind: pa.DataType, seed: int, num_rows: int) -> pa.Array:
    """A column of the type with any bits in it, as no writer would check them."""
    draw = np.random.default_rng(seed)
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, column_of(kind.storage_type, seed, num_rows))
    if pa.types.is_null(kind):
        return pa.nulls(num_rows)
    if pa.types.is_struct(kind):
        fields = [kind.field(n) for n in range(kind.num_fields)]
        arrays = [column_of(of.type, seed + n, num_rows) for n, of in enumerate(fields)]
        return pa.StructArray.from_arrays(arrays, fields=fields)
    if pa.types.is_fixed_size_list(kind):
        values = column_of(kind.value_type, seed, num_rows * kind.list_size)
        return pa.FixedSizeListArray.from_arrays(values, type=kind)
    if pa.types.is_map(kind):
        keys = pa.array([f"k{n % 2}" for n in range(num_rows)])
        items = column_of(kind.item_type, seed, num_rows)
        return pa.MapArray.from_arrays(list(range(num_rows + 1)), keys, items)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lists = pa.ListArray.from_arrays(
            pa.array(range(num_rows + 1), pa.int32()), column_of(kind.value_type, seed, num_rows)
        )
        return lists.cast(kind) if pa.types.is_large_list(kind) else lists
    if pa.types.is_boolean(kind):
        return pa.array(draw.random(num_rows) < 0.5)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        views = [None if n % 3 else b"v" * n for n in range(num_rows)]
        return pa.array(views, pa.binary()).cast(kind)
    pieces = [draw.bytes(int(draw.integers(0, 6))) for _ in range(num_rows)]
    raw = pa.array(pieces, pa.binary())
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return pa.Array.from_buffers(kind, num_rows, raw.buffers())
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return pa.Array.from_buffers(kind, num_rows, raw.cast(pa.large_binary()).buffers())
    data = draw.bytes(num_rows * kind.bit_width // 8)
    return pa.Array.from_buffers(kind, num_rows, [None, pa.py_buffer(data)])


columns_drawn = st.lists(st.tuples(types, st.integers(0, 2**31)), min_size=1, max_size=4)
SHORT = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SHORT
@given(columns_drawn, st.booleans(), st.booleans())
def test_columns_of_every_type_with_any_bits_in_them(
    tmp_path: Path, drawn: list[tuple[pa.DataType, int]], as_id: bool, named: bool
) -> None:
    """No traceback, documents and dead letters are all rows, and metadata is JSON."""
    columns = {f"c{n}": column_of(kind, seed, 5) for n, (kind, seed) in enumerate(drawn)}
    table = pa.table({"id": [f"d{n}" for n in range(5)], "text": ["x"] * 5} | columns)
    try:
        pq.write_table(table, tmp_path / "a.parquet")
    except (OSError, ValueError, pa.ArrowException):
        return  # this type or value cannot be written
    spec = CorpusSpec(
        str(tmp_path / "a.parquet"),
        id_field="c0" if as_id else "",
        metadata_fields=tuple(columns) if named else ("*",),
    )
    good, dead = documents(open_corpus(spec))
    assert len(good) + len(dead) == 5
    assert as_id or not dead
    for document in good:
        json.dumps(dict(document.metadata), allow_nan=False, ensure_ascii=False).encode()


@SHORT
@given(st.data())
def test_a_parquet_file_with_changed_bytes_is_read_or_refused_by_name(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes changed, cut off or repeated: nothing but our own errors."""
    table = pa.table({"id": ["a", "b"], "text": ["x", "y"], "n": [1, 2], "tags": [["t"], []],
                      "when": DAYS[:2]})  # fmt: skip
    written = pa.BufferOutputStream()
    pq.write_table(table, written, compression=data.draw(st.sampled_from(["none", "zstd"])))
    content = bytearray(written.getvalue().to_pybytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.sampled_from(["flip", "cut", "repeat"]))
        if change == "flip":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "cut":
            del content[at : at + data.draw(st.integers(1, 40))]
        else:
            content[at:at] = content[at : at + 20]
    (tmp_path / "a.parquet").write_bytes(bytes(content))
    # Anything but our own errors is a traceback.
    with suppress(MragError):
        documents(open_corpus(CorpusSpec(str(tmp_path / "a.parquet"))))
