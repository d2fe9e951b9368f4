"""Rows of a database: a table or a query, read in ranges of its id with a server-side cursor.

A slice is the rows whose ids are above one and at most another, so it can be read again.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mrag_pipeline.corpus.field_choice import FieldChoice, choose, resolve
from mrag_pipeline.corpus.field_mapping import IDS, FieldMapping
from mrag_pipeline.corpus.record import Record
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import ConfigError, CorpusError, CorpusNotFound
from mrag_pipeline.settings.corpus import CorpusSpec

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine, Row

PASSWORD = "MRAG_SQL_PASSWORD"
_NUM_SAMPLES = 50
_ROWS_AT_ONCE = 1_000  # that a cursor holds
_IDS_AT_ONCE = 10_000
_WITHOUT_ID = "null"  # the path of the slice of rows whose id is null
_NAME = re.compile(r"\w+(\.\w+)*")
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w)")
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
        self._kept = None if reading is None else FieldChoice.of(reading)
        if self._kept is not None:
            self._kept.check(spec)

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        """Ranges of ids, rising, of about `max_bytes` each; stamped with what their rows hold.

        Where `updated_field` is set, only ids and that field are read, and a row counts as changed
        when it changes; otherwise every row is read.
        Raises: CorpusNotFound, CorpusError, ConfigError.
        """
        size = self._row_bytes
        columns = "*"
        if self._spec.updated_field:
            columns = f"{self._id_column}, {self._quoted(self._spec.updated_field)}"
        with self._rows(f"{self._id_column} IS NULL", {}, "1") as rows:
            if next(rows, None) is not None:
                yield Slice(_WITHOUT_ID, "rows", 0, 1, size, "")
        low: object = None
        last: object = None
        digest, num_rows = hashlib.blake2b(digest_size=16), 0
        with self._rows(f"{self._id_column} IS NOT NULL", {}, columns, _IDS_AT_ONCE) as rows:
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
        max_bytes = self._spec.max_document_bytes
        for piece in slices:
            condition, bounds = self._condition(piece)
            with self._rows(condition, bounds) as rows:
                for row in rows:
                    values = {name: _plain(value) for name, value in row._mapping.items()}
                    source = f"{self._name}:{values.get(self._id)}"
                    yield self._mapping.document(Record(values, source), max_bytes)

    def reading(self) -> dict[str, Any]:
        """The field choice, plain."""
        return self._choice.to_dict()

    def left_out(self) -> Iterator[str]:
        """None: there are no files."""
        return iter(())

    def describe(self) -> str:
        """The table or query, where it is, and its fields."""
        return f"{self._name} of {self._url_for_people}: {self._mapping}"

    # -------------------------------------------------------------- fields
    @property
    def _name(self) -> str:
        return self._spec.query if _NAME.fullmatch(self._spec.query) else "query"

    @cached_property
    def _samples(self) -> list[Mapping[str, object]]:
        with self._rows("1 = 1", {}, ordered=False, limit=_NUM_SAMPLES) as rows:
            return [{name: _plain(v) for name, v in row._mapping.items()} for row in rows]

    @cached_property
    def _row_bytes(self) -> int:
        sizes = [sum(len(str(v)) for v in row.values()) for row in self._samples]
        return max(1, sum(sizes) // max(1, len(sizes)))

    @cached_property
    def _columns(self) -> list[str]:
        with self._connected() as connection:
            return list(connection.execute(_text(f"SELECT * FROM {self._from} WHERE 1 = 0")).keys())

    @cached_property
    def _id(self) -> str:
        kept = None if self._kept is None else self._kept.id
        named = self._spec.id_field or kept
        by_lower = {name.lower(): name for name in reversed(self._columns)}
        found = named or next((by_lower[name] for name in IDS if name in by_lower), "")
        if found not in self._columns:
            raise ConfigError(
                f"{self._name} has no column {found!r}" if found else f"{self._name} has no id",
                f"a column that names each row, of: {', '.join(self._columns)}",
                "set corpus.id_field to the primary key: rows are read in ranges of it",
            )
        return found

    @cached_property
    def _choice(self) -> FieldChoice:
        if self._kept is not None and self._kept.id:
            return self._kept
        spec = replace(self._spec, id_field=self._id)
        return choose(spec, self._samples, self._name, True)

    @cached_property
    def _mapping(self) -> FieldMapping:
        return resolve(self._spec, self._samples, self._name, True, self._choice)

    # -------------------------------------------------------------- ranges
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

    # -------------------------------------------------------------- the database
    @contextmanager
    def _rows(
        self,
        condition: str,
        bounds: Mapping[str, object],
        columns: str = "*",
        at_once: int = _ROWS_AT_ONCE,
        ordered: bool = True,
        limit: int = 0,
    ) -> Iterator[Iterator[Row[Any]]]:
        """The rows of the table or query that meet the condition, as the server sends them."""
        order = f" ORDER BY {self._id_column}" if ordered else ""
        statement = f"SELECT {columns} FROM {self._from} WHERE {condition}{order}"
        with self._connected() as connection:
            streamed = connection.execution_options(stream_results=True, yield_per=at_once)
            result = streamed.execute(_text(statement), dict(bounds))
            with result:
                yield _limited(iter(result), limit)

    @property
    def _from(self) -> str:
        if _NAME.fullmatch(self._spec.query):
            return ".".join(map(self._quoted, self._spec.query.split(".")))
        # A colon before a word would be a parameter of ours.
        query = _PARAMETER.sub(r"\\:", self._spec.query.strip().rstrip(";"))
        return f"({query}) AS corpus_query"

    @property
    def _id_column(self) -> str:
        return self._quoted(self._id)

    def _quoted(self, name: str) -> str:
        return str(self._engine.dialect.identifier_preparer.quote(name))

    @cached_property
    def _engine(self) -> Engine:
        try:
            import sqlalchemy
            from sqlalchemy.pool import NullPool
        except ImportError:
            raise ConfigError(
                "SQLAlchemy is not installed",
                "it, to read a database",
                "pip install 'mrag-pipeline[sql]'",
            ) from None
        try:
            url = sqlalchemy.make_url(self._spec.uri)
            password = os.environ.get(PASSWORD)
            if password and url.drivername.partition("+")[0] != "sqlite":
                url = url.set(password=password)
            if url.drivername.startswith("sqlite") and not os.path.isfile(url.database or ""):
                raise CorpusNotFound(
                    f"no database at {url.database}", "a file of SQLite", "check corpus.uri"
                )
            return sqlalchemy.create_engine(url, poolclass=NullPool)
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise ConfigError(
                f"corpus.uri = {self._url_for_people!r}: {_first_line(error)}",
                "a SQLAlchemy URL whose driver is installed: sqlite:///file.db, "
                "postgresql+psycopg://user@host/database",
                "correct it, or install the driver",
            ) from None

    @property
    def _url_for_people(self) -> str:
        import sqlalchemy

        try:
            return sqlalchemy.make_url(self._spec.uri).render_as_string(hide_password=True)
        except sqlalchemy.exc.ArgumentError:
            return self._spec.uri.partition(":")[0] + ":..."

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        if not self._spec.query.strip():
            raise ConfigError(
                f"corpus.uri = {self._url_for_people!r} names a database",
                f"a table of it, or a query: {', '.join(self._tables()) or 'it has no table'}",
                'set corpus.query = "table" or "SELECT ..."',
            )
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._failure(error) from None

    def _tables(self) -> list[str]:
        import sqlalchemy

        try:
            return sorted(sqlalchemy.inspect(self._engine).get_table_names())[:20]
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> CorpusError:
        return CorpusError(
            f"{self._url_for_people}: {_first_line(getattr(error, 'orig', None) or error)}",
            "a database that answers, and a table or query that it has",
            f"check corpus.uri and corpus.query; the password comes from {PASSWORD}",
        )


def _text(statement: str) -> Any:
    import sqlalchemy

    return sqlalchemy.text(statement)


def _limited(rows: Iterator[Row[Any]], limit: int) -> Iterator[Row[Any]]:
    for number, row in enumerate(rows, 1):
        yield row
        if number == limit:
            return


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


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
