"""Parquet: cut by row groups, read in batches of rows, needed columns only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from mrag_pipeline.corpus.file_tree import READ_BYTES, FileTree
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.record import Record
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice

_BATCH_BYTES = 4 << 20  # of a row group's rows decoded at once
_MAX_BATCH_ROWS = 1_000


class ParquetFiles:
    """One record for each row.

    Lists, structs and binary columns (embeddings, images) are not read unless named.
    """

    name = "Parquet"
    fixed_fields = True
    mapping = None

    def __init__(self, named_columns: frozenset[str]) -> None:
        self._named = named_columns

    def whole(self, file: SourceFile) -> Slice:
        """All row groups of the file."""
        return Slice(file.path, "row_groups", 0, 1 << 31, file.num_bytes, file.stamp)

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:  # noqa: ARG002
        """One slice for each row group that has rows; a row group cannot be cut."""
        with self._opened(tree, file.path) as parquet:
            for index in range(parquet.metadata.num_row_groups):
                group = parquet.metadata.row_group(index)
                if group.num_rows:
                    num_bytes = max(1, group.total_byte_size)
                    yield Slice(file.path, "row_groups", index, index + 1, num_bytes, file.stamp)

    def records(self, tree: FileTree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The rows of the slice's row groups."""
        with self._opened(tree, piece.path) as parquet:
            columns = self._columns(parquet.schema_arrow)
            metadata = parquet.metadata
            stop = min(piece.stop, metadata.num_row_groups)
            row = sum(metadata.row_group(index).num_rows for index in range(piece.start))
            for index in range(piece.start, stop):
                for batch in parquet.iter_batches(
                    batch_size=_batch_rows(metadata.row_group(index)),
                    row_groups=[index],
                    columns=columns,
                    use_threads=False,
                ):
                    for values in _rows(batch):
                        row += 1
                        yield Record(values, f"{piece.path}:{row}")

    def _columns(self, schema: pa.Schema) -> list[str]:
        return [
            field.name
            for field in schema
            if field.name in self._named or not _is_nested_or_binary(field.type)
        ]

    @contextmanager
    def _opened(self, tree: FileTree, path: str) -> Iterator[pq.ParquetFile]:
        with tree.random_access(path) as source:
            # pre_buffer would hold the bytes of a whole row group in memory.
            yield pq.ParquetFile(source, pre_buffer=False, buffer_size=READ_BYTES)


def open_parquet(request: FileRequest) -> ParquetFiles:
    """Parquet, with the nested columns that the settings name."""
    spec = request.spec
    named = (spec.id_field, spec.title_field, spec.text_field, *spec.metadata_fields)
    return ParquetFiles(frozenset(named))


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    row_bytes: int = max(1, group.total_byte_size // max(1, group.num_rows))
    return min(max(1, _BATCH_BYTES // row_bytes), _MAX_BATCH_ROWS)


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, object]]:
    columns = [_values(column) for column in batch.columns]
    for row in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, row, strict=True))


def _values(column: pa.Array) -> list[object]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not _is_string(column.type):
        values: list[object] = column.to_pylist()
        return values
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:  # one bad value must not cost the others: it stays bytes
        raw = column.cast(pa.large_binary()).to_pylist()
        values = [_text_or_bytes(value) for value in raw]
    return values


def _text_or_bytes(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _is_string(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_nested_or_binary(kind: pa.DataType) -> bool:
    types = pa.types
    is_binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    return bool(types.is_nested(kind) or is_binary or types.is_fixed_size_binary(kind))
