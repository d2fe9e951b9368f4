"""Rows of a database: a table or a query, read in ranges of its id with a server-side cursor.

A slice is the rows whose ids are above one and at most another, so it can be read again.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mrag_pipeline.corpus.field_choice import FieldChoice, choose, resolve
from mrag_pipeline.corpus.field_mapping import IDS, FieldMapping
from mrag_pipeline.corpus.record import Record
from mrag_pipeline.corpus.sql_source import SqlSource
from mrag_pipeline.corpus.sql_watermark import WATERMARK, Watermark
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import MAX_SHARD_BYTES, Slice
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import Unchanged
from mrag_pipeline.settings.corpus import CorpusSpec

if TYPE_CHECKING:
    from sqlalchemy.engine import Row

_NUM_SAMPLES = 50
_IDS_AT_ONCE = 10_000
_ROWS_BY_ID = 500  # that one statement names
_WITHOUT_ID = "null"  # the path of the slice of rows whose id is null
_ID_TYPES: Mapping[str, Any] = {
    "int": int,
    "str": str,
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
}


class SqlRows:
    """The corpus reader over one table or query."""

    def __init__(self, spec: CorpusSpec, reading: Mapping[str, Any] | None = None) -> None:
        """Connects to nothing yet.

        Raises: FingerprintMismatch if the spec contradicts the reading.
        """
        self._spec = spec
        self._source = SqlSource(spec.uri, spec.query)
        self._kept = None if reading is None else FieldChoice.of(reading)
        if self._kept is not None:
            self._kept.check(spec)
        self._since = Watermark.kept(spec, reading or {})

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        """Ranges of ids, rising, of about `max_bytes` each; stamped with what their rows hold.

        Where `updated_field` is set, only ids and that field are read, and a row counts as changed
        when it changes; otherwise every row is read.
        Raises: CorpusNotFound, CorpusError, ConfigError.
        """
        size = self._row_bytes
        columns = "*"
        if self._spec.updated_field:
            columns = f"{self._id_column}, {self._updated_column}"
        with self._source.rows(f"{self._id_column} IS NULL", {}, columns="1") as rows:
            if next(rows, None) is not None:
                yield Slice(_WITHOUT_ID, "rows", 0, 1, size, "")
        low: object = None
        last: object = None
        digest, num_rows = hashlib.blake2b(digest_size=16), 0
        present = f"{self._id_column} IS NOT NULL"
        with self._source.rows(present, {}, self._id_column, columns, _IDS_AT_ONCE) as rows:
            for row in rows:
                values = row._mapping
                key = values[self._id]
                if num_rows * size >= max_bytes and key != last:
                    yield self._slice(low, last, num_rows * size, digest.hexdigest())
                    low, digest, num_rows = last, hashlib.blake2b(digest_size=16), 0
                digest.update(repr(tuple(row)).encode("utf-8", "surrogatepass"))
                last = key
                num_rows += 1
        if num_rows:
            yield self._slice(low, last, num_rows * size, digest.hexdigest())

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        """The rows of the slices as they are now, by their ids, in bounded memory."""
        for piece in slices:
            condition, bounds = self._condition(piece)
            with self._source.rows(condition, bounds, self._id_column) as rows:
                yield from map(self._document, rows)

    def knows_changes(self) -> bool:
        """Whether the version has a watermark of these settings."""
        return self._since is not None

    def changes(
        self, is_known: Callable[[str], bool], overlap_s: float
    ) -> Iterator[Document | DeadLetter | Unchanged]:
        """Every row, in the order of the ids; known ones that did not change by their id alone.

        Without `updated_field`, or a watermark of these settings in the reading, all are read.
        """
        if self._since is None:
            for piece in self.slices(MAX_SHARD_BYTES):
                yield from self.read([piece])
            return
        yield from self.read([Slice(_WITHOUT_ID, "rows", 0, 1, 1, "")])
        keys: list[object] = []
        present = f"{self._id_column} IS NOT NULL"
        columns = f"{self._id_column}, {self._updated_column}"
        with self._source.rows(present, {}, self._id_column, columns, _IDS_AT_ONCE) as rows:
            for key, updated in rows:
                document_id = self._mapping.document_id({self._id: _plain(key)})
                if is_known(document_id) and not self._since.may_have_changed(updated, overlap_s):
                    yield Unchanged(document_id)
                    continue
                if len(keys) >= _ROWS_BY_ID and key != keys[-1]:
                    yield from self._rows_of(keys)
                    keys = []
                keys.append(key)
        yield from self._rows_of(keys)

    def reading(self) -> dict[str, Any]:
        """The field choice, plain, and the newest value of `updated_field` now."""
        choice = self._choice.to_dict()
        if not self._spec.updated_field:
            return choice
        newest = f"MAX({self._updated_column})"
        with self._source.rows("1 = 1", {}, columns=newest) as rows:
            mark = Watermark.at(self._spec, next(iter(rows))[0])
        return choice if mark is None else choice | {WATERMARK: mark.to_dict()}

    def left_out(self) -> Iterator[str]:
        """None: there are no files."""
        return iter(())

    def describe(self) -> str:
        """The table or query, where it is, and its fields."""
        return f"{self._source.name} of {self._source.url_for_people}: {self._mapping}"

    def _rows_of(self, keys: Sequence[object]) -> Iterator[Document | DeadLetter]:
        names = {f"key{number}": key for number, key in enumerate(dict.fromkeys(keys))}
        if names:
            condition = f"{self._id_column} IN ({', '.join(f':{name}' for name in names)})"
            with self._source.rows(condition, names, self._id_column) as rows:
                yield from map(self._document, rows)

    def _document(self, row: Row[Any]) -> Document | DeadLetter:
        values = {name: _plain(value) for name, value in row._mapping.items()}
        source = f"{self._source.name}:{values.get(self._id)}"
        return self._mapping.document(Record(values, source), self._spec.max_document_bytes)

    # -------------------------------------------------------------- fields
    @cached_property
    def _samples(self) -> list[Mapping[str, object]]:
        with self._source.rows("1 = 1", {}, limit=_NUM_SAMPLES) as rows:
            return [{name: _plain(v) for name, v in row._mapping.items()} for row in rows]

    @cached_property
    def _row_bytes(self) -> int:
        sizes = [sum(len(str(v)) for v in row.values()) for row in self._samples]
        return max(1, sum(sizes) // max(1, len(sizes)))

    @cached_property
    def _id(self) -> str:
        kept = None if self._kept is None else self._kept.id
        named = self._spec.id_field or kept
        by_lower = {name.lower(): name for name in reversed(self._source.columns)}
        found = named or next((by_lower[name] for name in IDS if name in by_lower), "")
        if found not in self._source.columns:
            raise ConfigError(
                f"{self._source.name} has no column {found!r}"
                if found
                else f"{self._source.name} has no id",
                f"a column that names each row, of: {', '.join(self._source.columns)}",
                "set corpus.id_field to the primary key: rows are read in ranges of it",
            )
        return found

    @cached_property
    def _choice(self) -> FieldChoice:
        if self._kept is not None and self._kept.id:
            return self._kept
        spec = replace(self._spec, id_field=self._id)
        return choose(spec, self._samples, self._source.name, True)

    @cached_property
    def _mapping(self) -> FieldMapping:
        return resolve(self._spec, self._samples, self._source.name, True, self._choice)

    # -------------------------------------------------------------- ranges
    @property
    def _id_column(self) -> str:
        return self._source.quoted(self._id)

    @property
    def _updated_column(self) -> str:
        return self._source.quoted(self._spec.updated_field)

    def _slice(self, low: object, high: object, num_bytes: int, stamp: str) -> Slice:
        path = json.dumps([_kept_id(low), _kept_id(high)])
        return Slice(path, "rows", 0, 1, num_bytes, stamp)

    def _condition(self, piece: Slice) -> tuple[str, dict[str, object]]:
        if piece.path == _WITHOUT_ID:
            return f"{self._id_column} IS NULL", {}
        low, high = (_id_of(kept) for kept in json.loads(piece.path))
        if low is None:
            return f"{self._id_column} <= :high", {"high": high}
        return f"{self._id_column} > :low AND {self._id_column} <= :high", {
            "low": low,
            "high": high,
        }


def _plain(value: object) -> object:
    if isinstance(value, uuid.UUID):
        return str(value)
    return bytes(value) if isinstance(value, memoryview) else value


def _kept_id(value: object) -> list[str] | None:
    """An id as JSON holds it."""
    if value is None:
        return None
    kind = type(value).__name__
    if kind not in _ID_TYPES:
        raise ConfigError(
            f"ids of type {kind}",
            f"ids that can be kept and compared: {', '.join(_ID_TYPES)}",
            "select them as one of these: SELECT CAST(key AS text) AS id, ...",
        )
    return [kind, value.isoformat() if isinstance(value, datetime.date) else str(value)]


def _id_of(kept: list[str] | None) -> object:
    return None if kept is None else _ID_TYPES[kept[0]](kept[1])
