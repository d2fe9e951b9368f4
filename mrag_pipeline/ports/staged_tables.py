"""Tables of staging on their way to an index: read when their turn comes, or left in their files.

An index takes `StagedTables` as any tables. One whose server imports files may instead ask which
of them lie in a file of their own, and let the server read those files where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A table that is the whole of one staged file.

    The file is plain Parquet: the columns of its table in their order, vector list<float32>, no
    dictionaries. Its vectors were checked when they were staged: finite, and none is zero.
    """

    store: str  # names the bucket that has the file; "": a disk
    path: str  # absolute on a disk, else a key within its bucket
    num_bytes: int
    num_rows: int
    read: Callable[[], pa.Table]  # raises StagingError if the file is missing or damaged


@dataclass(frozen=True, slots=True)
class StagedTables:
    """One table for each shard, in their order; each is read when it is asked for."""

    shards: Sequence[int]
    table: Callable[[int], pa.Table]  # a shard's rows
    file: Callable[[int], StagedTable | None]  # None: no file holds just the shard's rows

    def __iter__(self) -> Iterator[pa.Table]:
        return map(self.table, self.shards)

    def in_files(self) -> Iterator[pa.Table | StagedTable]:
        """The same rows; those in files of their own are not read."""
        for shard in self.shards:
            staged = self.file(shard)
            yield self.table(shard) if staged is None else staged


def as_table(table: pa.Table | StagedTable) -> pa.Table:
    """The rows, read if they are still in their file.

    Raises: StagingError.
    """
    return table.read() if isinstance(table, StagedTable) else table
