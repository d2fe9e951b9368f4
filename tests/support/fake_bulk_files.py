"""A BulkFiles that lives in memory; it passes tests/contracts/test_bulk_files.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

import numpy as np
import pyarrow as pa

from mrag_pipeline.errors import BadVectors
from mrag_pipeline.ports import BulkFile, StagedTable, as_table
from tests.support.fake_staging import as_matrix


class FakeBulkFiles:
    """The BulkFiles port in memory: each table is a file, and its server sees what is in memory."""

    def __init__(self, in_place_bytes: int = 0) -> None:
        self.files: dict[str, pa.Table] = {}  # by name, as a server would read them
        self._in_place_bytes = in_place_bytes
        self._numbers = count()

    def write(
        self, collection: str, tables: Iterable[pa.Table | StagedTable]
    ) -> Iterator[BulkFile]:
        for given in tables:
            if not given.num_rows:
                continue
            if isinstance(given, StagedTable) and self._sees(given):
                yield BulkFile(given.path, given.num_rows, given)
                continue
            table = as_table(given)
            vectors = as_matrix(table)
            if not (np.isfinite(vectors).all() and vectors.any(axis=1).all()):
                raise BadVectors(f"bad vectors for {collection}")
            name = f"{collection}/{next(self._numbers)}"
            self.files[name] = table
            yield BulkFile(name, table.num_rows)

    def _sees(self, staged: StagedTable) -> bool:
        return staged.store == "memory" and staged.num_bytes >= self._in_place_bytes

    def remove(self, collection: str) -> None:
        for name in [name for name in self.files if name.startswith(f"{collection}/")]:
            del self.files[name]
