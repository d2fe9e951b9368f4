"""What a table format is asked for: the newest version, its parts, and the rows of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class TablePart:
    """A piece of a table that can be read by itself."""

    path: str  # of its file
    index: int  # in the file, from 0
    num_bytes: int


class VersionedTable(Protocol):
    """A table that can be read as it was at a version."""

    kind: str  # as messages show it

    def newest(self) -> str:
        """The version that the table has now."""

    def parts(self, version: str) -> Iterator[TablePart]:
        """The version's parts, in a fixed order."""

    def batches(self, version: str, part: TablePart) -> Iterator[pa.RecordBatch]:
        """A part's rows."""
