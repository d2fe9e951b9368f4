"""What all formats of typed columns share: which columns a reader takes, and why not the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import pyarrow as pa

from mrag_pipeline.corpus.field_mapping import IDS, TEXTS, TITLES
from mrag_pipeline.corpus.formats.arrow_values import (
    MAX_NESTED_BYTES,
    is_binary,
    is_nested,
    python_values,
)
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.record import Record


class ColumnFiles:
    """Files of rows whose columns have types."""

    fixed_fields = True
    mapping = None

    def __init__(self, fields: frozenset[str] | None, named: frozenset[str]) -> None:
        """Reads nothing yet.

        Args:
            fields: the columns that are read; None for all but bytes and long lists.
            named: those that are read whatever they hold.
        """
        self._fields = fields
        self._named = named

    @classmethod
    def of(cls, request: FileRequest) -> Self:
        """A reader of the columns that are wanted."""
        spec = request.spec
        fields = (spec.id_field, spec.title_field, spec.text_field)
        named = frozenset((*fields, *spec.metadata_fields, *spec.types))
        return cls(request.fields, named)

    def is_wanted(self, name: str) -> bool:
        """Whether anybody asks for a column of this name."""
        return self._fields is None or name in self._fields

    def is_sized(self, column: pa.Field) -> bool:
        """Whether it depends on the column's size if it is read."""
        return (
            self._fields is None and column.name not in self._named and bool(is_nested(column.type))
        )

    def left_out(self, column: pa.Field, num_bytes: int, num_rows: int) -> str:
        """Why a column that nobody names is not read; "" if it is.

        Args:
            num_bytes: what it holds in these rows; only asked for if it `is_sized`.
        """
        if self._fields is None and not self._may_be_text(column.name) and is_binary(column.type):
            return f"metadata {column.name!r}: bytes: left out"
        if self.is_sized(column) and num_bytes > MAX_NESTED_BYTES * num_rows:
            return f"metadata {column.name!r}: more than {MAX_NESTED_BYTES:,} bytes a row: left out"
        return ""

    def records_of(self, batch: pa.RecordBatch) -> Iterator[Record]:
        """The batch's rows, without the columns that are left out; their places are not named."""
        columns: dict[str, list[object]] = {}
        remarks: list[str] = []
        for column, values in zip(batch.schema, batch.columns, strict=True):
            name = column.name
            if not self.is_wanted(name):
                continue
            if name in columns:
                remarks.append(second_of_its_name(name))
            elif reason := self.left_out(column, values.nbytes, len(values)):
                remarks.append(reason)
            else:
                columns[name] = python_values(values)
        for row in range(batch.num_rows):
            record = {name: values[row] for name, values in columns.items()}
            yield Record(record, "", tuple(remarks))

    def _may_be_text(self, name: str) -> bool:
        return name in self._named or name.strip().lower() in {*IDS, *TITLES, *TEXTS}


def second_of_its_name(name: str) -> str:
    """The remark for a column that is not read because another one has its name."""
    return f"column {name!r}: a second one of this name is left out"
