"""The seam between file formats: a file gives records, whatever its format.

Knows nothing of which field is the text; `fields.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from mrag_pipeline.corpus.file_tree import SourceFile, Tree
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.planning import Slice


@dataclass(frozen=True, slots=True)
class Record:
    """One record as found: field names to plain Python values."""

    values: Mapping[str, object]
    source: str  # where: "data/a.csv:12"
    num_bytes: int = 0  # of the source, where the format knows it


class RecordFormat(Protocol):
    """Files that hold many records."""

    name: str  # for people
    fixed_fields: bool  # whether every record has the same ones

    def cut(self, tree: Tree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        """The file once, in order, in pieces; nothing if it holds no record.

        Raises: BrokenFile.
        """

    def whole(self, file: SourceFile) -> Slice:
        """The file as one piece, so that its first records can be looked at."""

    def records(self, tree: Tree, piece: Slice) -> Iterator[Record | DeadLetter]:
        """The piece's records, in order, in bounded memory.

        Raises: BrokenFile.
        """
