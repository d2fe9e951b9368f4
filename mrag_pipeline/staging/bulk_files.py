"""Files that a Milvus server's bulk import reads: a collection's rows as plain Parquet.

    {uri}/{collection}/1c9a../00000.parquet
                              00001.parquet

Each load has a folder of its own: what a dead run's import still reads is never written over.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mrag_pipeline.errors import BadVectors
from mrag_pipeline.ports import BulkFile
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.staging.atomic_folder import Folder

FILE_BYTES = 128 * 1024 * 1024  # held in memory, once for each collection that is loaded


class BulkFolder:
    """The BulkFiles port over a folder of any filesystem."""

    def __init__(self, uri: str, path: str = "", file_bytes: int = FILE_BYTES) -> None:
        """Files below `uri`; nothing is created yet.

        Args:
            path: the same place as the server names it; empty: the local path, or the key within
                its bucket.
            file_bytes: of vectors and texts in one file, about.
        Raises: ConfigError if the URI is not one.
        """
        self._folder = Folder(uri)
        self._path = (path or self._folder.path()).rstrip("/")
        self._file_bytes = file_bytes

    def write(self, collection: str, rows: Iterable[pa.Table]) -> Iterator[BulkFile]:
        """The rows as files of bounded size, one after the other as they are asked for."""
        attempt = uuid.uuid4().hex
        for number, table in enumerate(_pieces(rows, self._file_bytes)):
            _check_vectors(collection, table)
            name = f"{collection}/{attempt}/{number:05d}.parquet"
            sink = pa.BufferOutputStream()
            # 2.3.5 reads no dictionary of a compressed file; the file lives for a minute.
            pq.write_table(table, sink, compression="none", use_dictionary=False)
            self._folder.write(name, sink.getvalue())
            yield BulkFile(f"{self._path}/{name}", table.num_rows)

    def remove(self, collection: str) -> None:
        """Removes the collection's files, if there are any."""
        self._folder.remove(collection)


def _pieces(rows: Iterable[pa.Table], file_bytes: int) -> Iterator[pa.Table]:
    """The rows again, in tables of about `file_bytes`; none is empty."""
    held: list[pa.Table] = []
    num_bytes = 0
    for whole in rows:
        step = max(1, whole.num_rows * file_bytes // max(1, whole.nbytes))
        for start in range(0, whole.num_rows, step):
            table = whole.slice(start, step)
            if held and num_bytes + table.nbytes > file_bytes:
                yield pa.concat_tables(held)
                held, num_bytes = [], 0
            held.append(table)
            num_bytes += table.nbytes
    if held:
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
