"""A table or query of a database, by SQLAlchemy: its columns, and rows by a server-side cursor."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from mrag_pipeline.errors import ConfigError, CorpusError, CorpusNotFound, first_line

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine, Row

PASSWORD = "MRAG_SQL_PASSWORD"
_ROWS_AT_ONCE = 1_000  # that a cursor holds
_NAME = re.compile(r"\w+(\.\w+)*")
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w)")


class SqlSource:
    """What `corpus.uri` and `corpus.query` name. Connects when it is first asked for something."""

    def __init__(self, uri: str, query: str) -> None:
        self._uri = uri
        self._query = query

    @property
    def name(self) -> str:
        """The table's name, or `query`."""
        return self._query if _NAME.fullmatch(self._query) else "query"

    @property
    def url_for_people(self) -> str:
        """The URL without its password."""
        import sqlalchemy

        try:
            return sqlalchemy.make_url(self._uri).render_as_string(hide_password=True)
        except sqlalchemy.exc.ArgumentError:
            return self._uri.partition(":")[0] + ":..."

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns."""
        with self._connected() as connection:
            return list(connection.execute(_text(f"SELECT * FROM {self._from} WHERE 1 = 0")).keys())

    def quoted(self, name: str) -> str:
        """A column's name as it stands in a statement."""
        return str(self._engine.dialect.identifier_preparer.quote(name))

    @contextmanager
    def rows(
        self,
        condition: str,
        bounds: Mapping[str, object],
        order: str = "",
        columns: str = "*",
        at_once: int = _ROWS_AT_ONCE,
        limit: int = 0,
    ) -> Iterator[Iterator[Row[Any]]]:
        """The rows of the table or query that meet the condition, as the server sends them.

        Args:
            condition: in SQL, with `bounds` by name in it.
            order: the quoted column that they are sorted by; "": in any order.
            columns: in SQL; at_once: rows that the cursor holds; limit: of rows, 0 for all.
        Raises: CorpusError, CorpusNotFound, ConfigError.
        """
        sorting = f" ORDER BY {order}" if order else ""
        statement = f"SELECT {columns} FROM {self._from} WHERE {condition}{sorting}"
        with self._connected() as connection:
            streamed = connection.execution_options(stream_results=True, yield_per=at_once)
            result = streamed.execute(_text(statement), dict(bounds))
            with result:
                yield islice(result, limit or None)

    @property
    def _from(self) -> str:
        if _NAME.fullmatch(self._query):
            return ".".join(map(self.quoted, self._query.split(".")))
        # A colon before a word would be a parameter of ours.
        query = _PARAMETER.sub(r"\\:", self._query.strip().rstrip(";"))
        return f"({query}) AS corpus_query"

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
            url = sqlalchemy.make_url(self._uri)
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
                f"corpus.uri = {self.url_for_people!r}: {first_line(error)}",
                "a SQLAlchemy URL whose driver is installed: sqlite:///file.db, "
                "postgresql+psycopg://user@host/database",
                "correct it, or install the driver",
            ) from None

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        if not self._query.strip():
            raise ConfigError(
                f"corpus.uri = {self.url_for_people!r} names a database",
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
            f"{self.url_for_people}: {first_line(getattr(error, 'orig', None) or error)}",
            "a database that answers, and a table or query that it has",
            f"check corpus.uri and corpus.query; the password comes from {PASSWORD}",
        )


def _text(statement: str) -> Any:
    import sqlalchemy

    return sqlalchemy.text(statement)
