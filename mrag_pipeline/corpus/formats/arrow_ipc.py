"""Arrow IPC, files and streams: Feather 2, what `datasets` and pandas save; cut by record batches.

| what | becomes |
|---|---|
| a value | as in Parquet (`parquet.py`) |
| a file | a slice for each record batch; a batch is decoded whole |
| a stream (`.arrows`, a data set's `.arrow`) | one slice: it has no table of its batches |
| a batch that cannot be read, or whose offsets lead outside it | one dead letter |
| Feather 1 | a dead letter: pyarrow writes version 2 since 2020 |
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.column_files import ColumnFiles
from mrag_pipeline.corpus.record import Record, rejected
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import BrokenFile

_FILE, _FEATHER_1 = b"ARROW1", b"FEA1"
_ALL = 1 << 31


class ArrowFiles(ColumnFiles):
    """One record for each row."""

    name = "Arrow"

    def whole(self, file: SourceFile) -> Slice:
        """All batches of the file."""
        return Slice(file.path, "batches", 0, _ALL, file.num_bytes, file.stamp)

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:  # noqa: ARG002
        """One slice for each batch of a file, one for all of a stream, which is read to its end."""
        with self._opened(tree, file.path) as batches:
            if isinstance(batches, pa.RecordBatchStreamReader):
                if any(batch.num_rows for batch in batches):
                    yield self.whole(file)
                return
            num_bytes = max(1, file.num_bytes // max(1, batches.num_record_batches))
            for index in range(batches.num_record_batches):
                yield Slice(file.path, "batches", index, index + 1, num_bytes, file.stamp)

    def records(self, tree: FileTree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The rows of the slice's batches."""
        with self._opened(tree, piece.path) as batches:
            if isinstance(batches, pa.RecordBatchStreamReader):
                for index, batch in enumerate(batches):
                    yield from self._checked(tree, piece.path, index, batch)
                return
            for index in range(piece.start, min(piece.stop, batches.num_record_batches)):
                try:
                    with tree.reading(piece.path):
                        batch = batches.get_batch(index)
                except BrokenFile as error:
                    yield _unreadable(piece.path, index, error.found)
                    continue
                yield from self._checked(tree, piece.path, index, batch)

    def _checked(
        self, tree: FileTree, path: str, index: int, batch: pa.RecordBatch
    ) -> Iterator[Record | DeadLetter]:
        """The batch's rows, if its offsets stay within it: Arrow itself would trust them."""
        try:
            with tree.reading(path):
                batch.validate(full=True)
        except BrokenFile as error:
            yield _unreadable(path, index, error.found, batch.num_rows)
            return
        for row, record in enumerate(self.records_of(batch), 1):
            yield Record(record.values, f"{path}:{index + 1}.{row}", record.remarks)

    @contextmanager
    def _opened(
        self, tree: FileTree, path: str
    ) -> Iterator[pa.RecordBatchFileReader | pa.RecordBatchStreamReader]:
        with tree.random_access(path) as source:
            magic = source.read(len(_FILE))
            source.seek(0)
            if magic.startswith(_FEATHER_1):
                raise BrokenFile(
                    f"{tree.name(path)}: Feather version 1",
                    "Arrow's own format, which is Feather version 2",
                    "write it again: `pyarrow.feather.write_feather(table, path)`",
                )
            opened = pa.ipc.open_file(source) if magic == _FILE else pa.ipc.open_stream(source)
            try:
                _ = opened.schema.names
            except UnicodeDecodeError:
                raise BrokenFile(
                    f"{tree.name(path)}: a column's name is not UTF-8",
                    "a complete Arrow file",
                    "write the file again",
                ) from None
            yield opened


def _unreadable(path: str, index: int, problem: str, num_rows: int = 1) -> DeadLetter:
    reason = f"batch {index + 1} cannot be read: {problem}"
    return rejected(f"{path}:{index + 1}", reason, num_documents=max(1, num_rows))
