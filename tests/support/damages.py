"""Damages to an index on Milvus Lite and to its staging, and what is to come of each.

One at a time, on a copy of an index of eleven documents that was synced once. The table of
`docs/damage.md` is made from this list.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import ChunkRow, VectorIndex
from mrag_pipeline.stages.versions.stored_rows import words_of_version
from tests.support.changed_rows import (
    change_chunk,
    change_record,
    exchange_vectors,
    head_spec,
    negate_number,
)
from tests.support.fake_staging import table_of

MENDED, HARMLESS, REFUSED, KEPT = "mended", "harmless", "refused by name", "found; index kept"
Rows = Callable[[VectorIndex, VersionRecord, list[int]], object]
Files = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is damaged, how, and what comes of it."""

    where: str
    what: str
    outcome: str
    found: str  # in what `mrag audit` says
    rows: Rows | None = None  # through the index, as a fault of a writer would
    files: Files | None = None  # in the folder `below`, as a fault of a disk would
    below: str = ""  # of the copy; `*` for the version's name

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.where}: {self.what}"


# ------------------------------------------------------------------ of a file
def only(folder: Path, pattern: str) -> Path:
    """The first file below the folder with such a name."""
    return sorted(folder.rglob(pattern))[0]


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Flips one bit."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    """Leaves half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _lost(pattern: str) -> Files:
    def inflict(folder: Path) -> None:
        for file in folder.rglob(pattern):
            file.unlink()

    return inflict


def _first_lost(pattern: str) -> Files:
    return lambda folder: os.remove(only(folder, pattern))


def _cut(pattern: str) -> Files:
    return lambda folder: cut(only(folder, pattern))


def _flipped(pattern: str, at: float = 0.5) -> Files:
    def inflict(folder: Path) -> None:
        file = only(folder, pattern)
        flip(file, int(file.stat().st_size * at))

    return inflict


def _broken(*names: str) -> Files:
    return lambda folder: [(folder / name).write_text("{") for name in names]


def _sign_in_index(folder: Path) -> None:
    """The sign of a number in the middle, behind NumPy's header of 128 bytes."""
    file = only(folder, "*.idx")
    flip(file, 128 + (file.stat().st_size - 128) // 8 * 4 + 3, bit=7)


def _folder_in_place(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def _edited(folder: Path) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    values["shards"].pop()
    (folder / "manifest.json").write_text(json.dumps(values))


# ------------------------------------------------------------------ of rows
def _changed(**values: object) -> Rows:
    return lambda index, record, ids: change_chunk(index, record, ids[0], **values)


def _stray(index: VectorIndex, record: VersionRecord, _: list[int]) -> None:
    index.upsert(head_spec(record), table_of([5], np.ones((1, record.encoder.head_dim))))


def _other_words(index: VectorIndex, record: VersionRecord, ids: list[int]) -> None:
    row = ChunkRow(ids[0], "d", 0, 0, 1, "", "nothing of it", {})
    index.write_words(words_of_version(record), [row])


def _words_lost(index: VectorIndex, record: VersionRecord, ids: list[int]) -> None:
    index.delete(words_of_version(record).name, ids[:2])


def _recorded(**values: object) -> Rows:
    return lambda index, record, ids: index.write_record(replace(record, **values))  # type: ignore[arg-type]


def _sums_doubled(index: VectorIndex, record: VersionRecord, _: list[int]) -> None:
    index.write_record(replace(record, sums=record.sums + record.sums))


def _stored_record(what: str) -> Rows:
    return lambda index, record, _: change_record(index, record.version, what)


_TEXT, _VECTOR = "whose text or metadata are not what was written", "vectors that are not what"
_LOST, _WORDS = "collection that is lost or damaged", "has with other words"
_HEAD, _CHUNKS = "index.db/collections/*_l00_h01", "index.db/collections/*_chunks"
_LEXICAL, _RECORDS = "index.db/collections/*_lexical", "index.db/collections/*_records"
_BASE, _SYNC = "staging/docs/v*", "staging/docs/v*/syncs/00001"
_BOTH = ("manifest.json", "manifest.json.prev")


def _row(where: str, what: str, found: str, rows: Rows) -> Damage:
    return Damage(where, what, MENDED, found, rows=rows)


def _file(where: str, what: str, found: str, below: str, files: Files, outcome: str) -> Damage:
    return Damage(where, what, outcome, found, files=files, below=below)


def _index_file(
    where: str, what: str, found: str, below: str, files: Files, outcome: str = MENDED
) -> Damage:
    return _file(where, what, found, below, files, outcome)


_HEADS = "a head's collection"
_TEXTS = "the chunks collection"
DAMAGES: tuple[Damage, ...] = (
    _row("a head's row", "lost", "lacks", lambda i, r, ids: i.delete(head_spec(r).name, ids[:2])),
    _row("a head's row", "of no chunk", "rows of no chunk", _stray),
    _row(
        "a vector",
        "exchanged with another",
        _VECTOR,
        lambda i, r, ids: exchange_vectors(i, r, ids[:2]),
    ),
    _row("a vector", "one bit flipped", _VECTOR, lambda i, r, ids: negate_number(i, r, ids[3])),
    _row(
        "a chunks row",
        "lost",
        "record says",
        lambda i, r, ids: i.delete(r.chunks_collection(), ids[3:4]),
    ),
    _row("a chunks row", "another standard vector", _VECTOR, _changed(vector=[1.0] * 16)),
    _row("a chunks row", "another text", _TEXT, _changed(text="other")),
    _row("a chunks row", "another title", _TEXT, _changed(title="other")),
    _row("a chunks row", "another tenant", _TEXT, _changed(metadata='{"tenant": "b"}')),
    _row("a chunks row", "another fingerprint", _TEXT, _changed(fingerprint="0" * 32)),
    _row("a chunks row", "another document", _TEXT, _changed(document_id="nobody")),
    _row("a chunks row", "another span", _TEXT, _changed(end=1_000)),
    _row("a chunks row", "another ordinal", _TEXT, _changed(ordinal=7)),
    _row("a chunks row", "its proof damaged", "proofs that cannot be read", _changed(proof="a!")),
    _row("words", "lost", "lacks", _words_lost),
    _row("words", "other ones", _WORDS, _other_words),
    _row(
        "the record", "another number of chunks", "where the record says", _recorded(num_chunks=7)
    ),
    _row(
        "the record", "another number of documents", "the record says", _recorded(num_documents=7)
    ),
    _row("the record", "other importance sums", "importance sums", _sums_doubled),
    _row("the record", "its text damaged", "is damaged", _stored_record("text")),
    _row("the record", "a piece of its text lost", "is damaged", _stored_record("piece")),
    _row("the record", "which pieces it has damaged", "is damaged", _stored_record("pointer")),
    _index_file(_HEADS, "dropped", _LOST, _HEAD, shutil.rmtree),
    _index_file(_HEADS, "schema lost", _LOST, _HEAD, _lost("schema.json")),
    _index_file(_HEADS, "schema broken", _LOST, _HEAD, _broken("schema.json")),
    _index_file(_HEADS, "manifest lost", "rows of no chunk", _HEAD, _lost("manifest.json")),
    _index_file(_HEADS, "manifest broken", "rows of no chunk", _HEAD, _broken("manifest.json")),
    _index_file(_HEADS, "both manifests lost", _LOST, _HEAD, _lost("manifest.json*")),
    _index_file(_HEADS, "both manifests broken", _LOST, _HEAD, _broken(*_BOTH)),
    _index_file(_HEADS, "a data file lost", "lacks", _HEAD, _first_lost("data_*.parquet")),
    _index_file(_HEADS, "a data file cut", _LOST, _HEAD, _cut("data_*.parquet")),
    _index_file(_HEADS, "a bit of a data file flipped", "", _HEAD, _flipped("data_*.parquet")),
    _index_file(
        _HEADS, "a data file's end flipped", _LOST, _HEAD, _flipped("data_*.parquet", 0.999)
    ),
    _index_file(_HEADS, "a delta file lost", "rows of no chunk", _HEAD, _lost("delta_*")),
    _index_file(_HEADS, "a delta file cut", _LOST, _HEAD, _cut("delta_*")),
    _index_file(_HEADS, "an index file lost", "", _HEAD, _lost("*.idx"), HARMLESS),
    _index_file(_HEADS, "an index file cut", "", _HEAD, _cut("*.idx"), HARMLESS),
    _index_file(_HEADS, "a bit of an index file flipped", "does not find", _HEAD, _sign_in_index),
    _index_file(_TEXTS, "dropped", _LOST, _CHUNKS, shutil.rmtree),
    _index_file(_TEXTS, "schema broken", _LOST, _CHUNKS, _broken("schema.json")),
    _index_file(_TEXTS, "both manifests broken", _LOST, _CHUNKS, _broken(*_BOTH)),
    _index_file(_TEXTS, "a data file lost", "record says", _CHUNKS, _first_lost("data_*.parquet")),
    _index_file(_TEXTS, "a data file cut", _LOST, _CHUNKS, _cut("data_*.parquet")),
    _index_file(_TEXTS, "a bit of a data file flipped", "", _CHUNKS, _flipped("data_*.parquet")),
    _index_file(_TEXTS, "a delta file lost", "record says", _CHUNKS, _lost("delta_*")),
    _index_file(_TEXTS, "a bit of an index file flipped", "does not find", _CHUNKS, _sign_in_index),
    _index_file("the words' collection", "dropped", _LOST, _LEXICAL, shutil.rmtree),
    _index_file("the words' collection", "schema broken", _LOST, _LEXICAL, _broken("schema.json")),
    _index_file(
        "the words' collection", "a data file cut", _LOST, _LEXICAL, _cut("data_*.parquet")
    ),
    _index_file("the records", "dropped", "its record is lost", _RECORDS, shutil.rmtree),
    _index_file(
        "the records", "data files lost", "its record is lost", _RECORDS, _lost("data_*.parquet")
    ),
    _index_file("the records", "a data file cut", "cannot open", _RECORDS, _cut("data_*.parquet")),
    _index_file("the records", "schema broken", "cannot open", _RECORDS, _broken("schema.json")),
    _index_file("the alias", "lost", "the alias that makes", "index.db", _lost("aliases.json")),
    _index_file("the alias", "broken", "cannot resolve", "index.db", _broken("aliases.json")),
    _file(
        "staging",
        "a bit of a head's file flipped",
        "cannot be read",
        _BASE,
        _flipped("l00_h01*.parquet"),
        KEPT,
    ),
    _file("staging", "a chunks file cut", "cannot be read", _BASE, _cut("chunks-*.parquet"), KEPT),
    _file(
        "staging", "a file of proofs lost", "cannot be read", _BASE, _first_lost("proofs-*"), KEPT
    ),
    _file("staging", "a receipt lost", "cannot be read", _BASE, _first_lost("receipt.json"), KEPT),
    _file("staging", "a receipt cut", "cannot be read", _BASE, _cut("receipt.json"), KEPT),
    _file(
        "staging",
        "the manifest cut",
        "is missing or damaged",
        _BASE,
        lambda f: cut(f / "manifest.json"),
        REFUSED,
    ),
    _file("staging", "the manifest edited", "not what was written", _BASE, _edited, REFUSED),
    _file(
        "staging",
        "a folder in the manifest's place",
        "manifest.json",
        _BASE,
        _folder_in_place,
        REFUSED,
    ),
    _file(
        "staging",
        "a sync's manifest cut",
        "is missing or damaged",
        _SYNC,
        lambda f: cut(f / "manifest.json"),
        REFUSED,
    ),
    _file(
        "staging",
        "a sync's removals cut",
        "is missing or damaged",
        _SYNC,
        _cut("removed.parquet"),
        REFUSED,
    ),
)
