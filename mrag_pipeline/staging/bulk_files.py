"""Files that a Milvus server's bulk import reads: large staged files as they are, the rest copied.

    {uri}/{collection}/1c9a../00000.parquet
                              00001.parquet

The copies are plain Parquet. Each load has a folder of its own: what a dead run's import still
reads is never written over. Decision 125 says which staged files need no copy.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mrag_pipeline.errors import BadVectors
from mrag_pipeline.ports import BulkFile, StagedTable, as_table
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.staging.atomic_folder import Folder

FILE_BYTES = 128 * 1024 * 1024  # held in memory, once for each collection that is loaded
# Of a staged file that is not copied, at least, if others would be joined with it. 2.3.5 does one
# task at a time: 1.6 s, and 0.03 s a MB. Files of half a copy's size take it a quarter longer than
# copies, smaller ones much longer.
IN_PLACE_BYTES = FILE_BYTES // 2
_COPY = re.compile(r"[0-9a-f]{32}/[^/]+")


class BulkFolder:
    """The BulkFiles port over a folder of any filesystem."""

    def __init__(
        self,
        uri: str,
        path: str = "",
        file_bytes: int = FILE_BYTES,
        in_place_bytes: int = IN_PLACE_BYTES,
    ) -> None:
        """Files below `uri`; nothing is created yet.

        Args:
            path: the same place as the server names it; empty: the local path, or the key within
                its bucket.
            file_bytes: of vectors and texts in one file, about.
            in_place_bytes: smaller staged files are copied, several into one; a single one is not.
        Raises: ConfigError if the URI is not one.
        """
        self._folder = Folder(uri)
        self._server_path = f"{path.rstrip('/')}/" if path else ""
        self._file_bytes = file_bytes
        self._in_place_bytes = in_place_bytes

    def write(
        self, collection: str, tables: Iterable[pa.Table | StagedTable]
    ) -> Iterator[BulkFile]:
        """Staged files as they come; the rest in copies of bounded size, each when it is full."""
        attempt = uuid.uuid4().hex
        numbers = count()
        pieces = _Pieces(self._file_bytes)
        lone: StagedTable | None = None  # small, and nothing to join it with has come yet
        for table in tables:
            if not table.num_rows:
                continue
            if isinstance(table, StagedTable) and self._is_seen(table):
                if table.num_bytes >= self._in_place_bytes:
                    yield self._in_place(table)
                    continue
                if lone is None and pieces.is_empty:
                    lone = table
                    continue
            joined = [table] if lone is None else [lone, table]
            lone = None
            for given in joined:
                for piece in pieces.added(as_table(given)):
                    yield self._copied(collection, f"{attempt}/{next(numbers):05d}.parquet", piece)
        for piece in pieces.rest():
            yield self._copied(collection, f"{attempt}/{next(numbers):05d}.parquet", piece)
        if lone is not None:
            yield self._in_place(lone)

    def remove(self, collection: str) -> None:
        """Removes the collection's copies, if there are any."""
        # Staging may lie below the same folder: what is no copy is not ours to remove.
        if all(map(_COPY.fullmatch, self._folder.sizes(collection))):
            self._folder.remove(collection)

    def _is_seen(self, staged: StagedTable) -> bool:
        """Whether how the server names the file is known."""
        is_inside = staged.path.startswith(self._folder.path(""))
        return staged.store == self._folder.store and (is_inside or not self._server_path)

    def _in_place(self, staged: StagedTable) -> BulkFile:
        return BulkFile(self._server_name(staged.path), staged.num_rows, staged)

    def _copied(self, collection: str, name: str, table: pa.Table) -> BulkFile:
        _check_vectors(collection, table)
        sink = pa.BufferOutputStream()
        # 2.3.5 reads no dictionary of a compressed file; the file lives for a minute.
        pq.write_table(table, sink, compression="none", use_dictionary=False)
        self._folder.write(f"{collection}/{name}", sink.getvalue())
        path = self._folder.path(f"{collection}/{name}")
        return BulkFile(self._server_name(path), table.num_rows)

    def _server_name(self, path: str) -> str:
        """What the server calls a file of the folder; one elsewhere has the same name for it."""
        if not self._server_path:
            return path
        return self._server_path + path.removeprefix(self._folder.path(""))


class _Pieces:
    """Makes tables of about `file_bytes` of others: small ones joined, large ones cut."""

    def __init__(self, file_bytes: int) -> None:
        self._file_bytes = file_bytes
        self._held: list[pa.Table] = []
        self._num_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether no rows are held."""
        return not self._held

    def added(self, whole: pa.Table) -> Iterator[pa.Table]:
        """What is full with one more table; none is empty."""
        step = max(1, whole.num_rows * self._file_bytes // max(1, whole.nbytes))
        for start in range(0, whole.num_rows, step):
            table = whole.slice(start, step)
            if self._num_bytes + table.nbytes > self._file_bytes:
                yield from self.rest()
            self._held.append(table)
            self._num_bytes += table.nbytes

    def rest(self) -> Iterator[pa.Table]:
        """What is held, if anything."""
        if self._held:
            held, self._held, self._num_bytes = self._held, [], 0
            yield pa.concat_tables(held)


def _check_vectors(collection: str, table: pa.Table) -> None:
    vectors = vector_matrix(table["vector"])
    whole = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    if not whole.all():
        raise BadVectors(
            f"{int((~whole).sum())} of {len(whole)} vectors for {collection} are zero, NaN or "
            "infinite",
            "finite vectors with a direction",
            "a bulk import would take them unchecked; check the model with `mrag inspect`",
        )
