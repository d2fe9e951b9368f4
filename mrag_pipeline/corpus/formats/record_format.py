"""The port of a file format: cuts a file into slices and reads the records of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from mrag_pipeline.corpus.field_mapping import FieldMapping
from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.record import Record
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice


class RecordFormat(Protocol):
    """Reads the records of files of one format."""

    name: str  # as messages show it
    fixed_fields: bool  # whether every record has the same fields

    @property
    def mapping(self) -> FieldMapping | None:
        """The format's own field mapping; None if it follows from settings and records."""

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        """The file once, in order, in slices of about `max_bytes`; none if it holds no record.

        Raises: BrokenFile.
        """

    def whole(self, file: SourceFile) -> Slice:
        """The file as one slice, from which its first records can be sampled."""

    def records(self, tree: FileTree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The slice's records, in order, in bounded memory.

        Raises: BrokenFile.
        """
