"""Parquet: cut by row groups, read in batches of rows, needed columns only.

| column | becomes |
|---|---|
| string, boolean, integer, float, decimal, date, time | its value (`metadata_values.py`) |
| timestamp with a time zone | ISO 8601 with its offset; in UTC if the zone is unknown |
| nanoseconds | microseconds, the rest is cut off |
| list, struct, map | a list or an object, if it is short or named |
| bytes | the id, title or text if they are UTF-8; others are left out, and not read unless named |
| a map that has a key twice | a list of its pairs |
| rows that cannot be read | one dead letter for what is left of their row group |
| a second one of the same name | left out |
| what Python cannot hold (a date after 9999) | left out; in id or text a dead letter |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from mrag_pipeline.corpus.file_tree import READ_BYTES, FileTree
from mrag_pipeline.corpus.formats.arrow_values import num_leaves, python_values
from mrag_pipeline.corpus.formats.column_files import ColumnFiles, second_of_its_name
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import BrokenFile

_BATCH_BYTES = 4 << 20  # of a row group's rows decoded at once
_MAX_BATCH_ROWS = 1_000


class ParquetFiles(ColumnFiles):
    """One record for each row."""

    name = "Parquet"

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
            metadata = parquet.metadata
            stop = min(piece.stop, metadata.num_row_groups)
            row = sum(metadata.row_group(index).num_rows for index in range(piece.start))
            for index in range(piece.start, stop):
                last = row + metadata.row_group(index).num_rows
                try:
                    with tree.reading(piece.path):
                        for record in self._rows(parquet, index, piece.path, row):
                            row += 1
                            yield record
                    problem = "there are none"
                except BrokenFile as error:
                    problem = error.found
                if row < last:
                    reason = f"rows {row + 1:,} to {last:,} cannot be read: {problem}"
                    yield rejected(f"{piece.path}:{row + 1}", reason, num_documents=last - row)
                row = last

    def _rows(self, parquet: pq.ParquetFile, index: int, path: str, row: int) -> Iterator[Record]:
        """The rows of a row group that begins after the file's row `row`."""
        group = parquet.metadata.row_group(index)
        self._check_chunks(parquet, index)
        names, remarks = self._columns(parquet.schema_arrow, group)
        for batch in parquet.iter_batches(
            batch_size=_batch_rows(group), row_groups=[index], columns=names, use_threads=False
        ):
            columns = {name: python_values(_first(batch, name)) for name in names}
            for at in range(batch.num_rows):
                row += 1
                values = {name: column[at] for name, column in columns.items()}
                yield Record(values, f"{path}:{row}", remarks)

    def _check_chunks(self, parquet: pq.ParquetFile, index: int) -> None:
        """Reads a row of the columns whose sizes are asked for.

        pyarrow ends the process when it is asked for the metadata of a damaged column chunk;
        reading it raises.
        """
        sized = [column.name for column in parquet.schema_arrow if self.is_sized(column)]
        if sized:
            next(parquet.iter_batches(batch_size=1, row_groups=[index], columns=sized), None)

    def _columns(
        self, schema: pa.Schema, group: pq.RowGroupMetaData
    ) -> tuple[list[str], tuple[str, ...]]:
        """The names of the columns to read, and a remark for each that a document lacks."""
        names: dict[str, None] = {}
        remarks: list[str] = []
        leaf = 0
        for column in schema:
            leaves = range(leaf, leaf + num_leaves(column.type))
            leaf = leaves.stop
            name = column.name
            if not self.is_wanted(name):
                continue
            if name in names:
                remarks.append(second_of_its_name(name))
                continue
            sized = leaves if self.is_sized(column) else ()
            num_bytes = sum(group.column(index).total_uncompressed_size for index in sized)
            if reason := self.left_out(column, num_bytes, group.num_rows):
                remarks.append(reason)
            else:
                names[name] = None
        return list(names), tuple(remarks)

    @contextmanager
    def _opened(self, tree: FileTree, path: str) -> Iterator[pq.ParquetFile]:
        with tree.random_access(path) as source:
            try:
                # pre_buffer would hold the bytes of a whole row group in memory.
                parquet = pq.ParquetFile(source, pre_buffer=False, buffer_size=READ_BYTES)
            except UnicodeDecodeError:
                raise _broken(tree, path, "a column's name is not UTF-8") from None
            metadata = parquet.metadata
            groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
            num_rows = sum(group.num_rows for group in groups)
            if num_rows != metadata.num_rows:
                problem = f"it counts {metadata.num_rows:,} rows, its row groups {num_rows:,}"
                raise _broken(tree, path, problem)
            yield parquet


def _broken(tree: FileTree, path: str, problem: str) -> BrokenFile:
    return BrokenFile(
        f"{tree.name(path)}: {problem}", "a complete Parquet file", "write the file again"
    )


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    row_bytes: int = max(1, group.total_byte_size // max(1, group.num_rows))
    return min(max(1, _BATCH_BYTES // row_bytes), _MAX_BATCH_ROWS)


def _first(batch: pa.RecordBatch, name: str) -> pa.Array:
    """The first column of a name, which several may have."""
    names: Sequence[str] = batch.schema.names
    return batch.column(names.index(name))
