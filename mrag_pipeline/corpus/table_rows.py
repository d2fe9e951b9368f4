"""Rows of a Delta or Iceberg table, all of one version of it.

A slice is a part of a data file, stamped with the table's version: whoever reads it later reads
that version, whatever is written meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any

from mrag_pipeline.corpus.delta_table import Delta
from mrag_pipeline.corpus.field_choice import FieldChoice, choose, resolve
from mrag_pipeline.corpus.field_mapping import FieldMapping
from mrag_pipeline.corpus.formats.column_files import ColumnFiles
from mrag_pipeline.corpus.iceberg_table import CATALOG, Iceberg
from mrag_pipeline.corpus.record import Record
from mrag_pipeline.corpus.table_part import TablePart, VersionedTable
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.filesystems.location import URI, shown
from mrag_pipeline.settings.corpus import AUTO, CorpusSpec

TABLES: dict[str, Callable[[str], VersionedTable]] = {"delta": Delta, "iceberg": Iceberg}
_NUM_SAMPLES = 50


def table_format(spec: CorpusSpec) -> str:
    """The name of the table format that the corpus is in; "" if it is in none.

    A folder of this machine is looked into; elsewhere `corpus.format` says it.
    """
    if spec.format in TABLES:
        return spec.format
    if spec.format != AUTO:
        return ""
    if spec.uri.startswith(CATALOG):
        return "iceberg"
    if URI.match(spec.uri):
        return ""
    folder = os.path.expanduser(spec.uri)
    if os.path.isdir(os.path.join(folder, "_delta_log")):
        return "delta"
    metadata = os.path.join(folder, "metadata")
    names = os.listdir(metadata) if os.path.isdir(metadata) else ()
    return "iceberg" if any(name.endswith(".metadata.json") for name in names) else ""


class TableRows:
    """The corpus reader over one table."""

    def __init__(self, spec: CorpusSpec, reading: Mapping[str, Any] | None = None) -> None:
        """Opens nothing yet.

        Raises: FingerprintMismatch if the spec contradicts the reading.
        """
        self._spec = spec
        self._table = TABLES[table_format(spec)](spec.uri)
        self._kept = None if reading is None else FieldChoice.of(reading)
        if self._kept is not None:
            self._kept.check(spec)

    def slices(self, max_bytes: int) -> Iterator[Slice]:  # noqa: ARG002
        """The version's parts; one cannot be cut.

        Raises: CorpusNotFound, CorpusError, ConfigError.
        """
        _ = self._mapping
        for part in self._table.parts(self._version):
            stop = part.index + 1
            yield Slice(part.path, "rows", part.index, stop, part.num_bytes, self._version)

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        """The rows of the slices, as they were at the slices' version."""
        max_bytes = self._spec.max_document_bytes
        for piece in slices:
            part = TablePart(piece.path, piece.start, piece.num_bytes)
            for record in self._records(piece.stamp, part, self._mapping.fields):
                yield self._mapping.document(record, max_bytes)

    def reading(self) -> dict[str, Any]:
        """The field choice, plain."""
        return self._choice.to_dict()

    def left_out(self) -> Iterator[str]:
        """None: the table names its files."""
        return iter(())

    def describe(self) -> str:
        """The table, its version and its fields."""
        parts = list(self._table.parts(self._version))
        num_bytes = sum(part.num_bytes for part in parts)
        return (
            f"{self._table.kind} {shown(self._spec.uri)}, version {self._version}, "
            f"{num_bytes / 1e6:.1f} MB: {self._mapping}"
        )

    @cached_property
    def _version(self) -> str:
        return self._spec.snapshot or self._table.newest()

    def _records(
        self, version: str, part: TablePart, fields: frozenset[str] | None
    ) -> Iterator[Record]:
        named = (self._spec.id_field, self._spec.title_field, self._spec.text_field)
        columns = ColumnFiles(
            fields, frozenset((*named, *self._spec.metadata_fields, *self._spec.types))
        )
        row = 0
        for batch in self._table.batches(version, part):
            for record in columns.records_of(batch):
                row += 1
                place = f"{part.path}:{part.index + 1}.{row}"
                yield Record(record.values, place, record.remarks)

    @cached_property
    def _samples(self) -> list[Mapping[str, object]]:
        parts = self._table.parts(self._version)
        rows = chain.from_iterable(self._records(self._version, part, None) for part in parts)
        return [record.values for record in islice(rows, _NUM_SAMPLES)]

    @cached_property
    def _choice(self) -> FieldChoice:
        if self._kept is not None:
            return self._kept
        return choose(self._spec, self._samples, self._table.kind, True)

    @cached_property
    def _mapping(self) -> FieldMapping:
        return resolve(self._spec, self._samples, self._table.kind, True, self._choice)
