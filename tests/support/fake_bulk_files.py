"""A BulkFiles that lives in memory; it passes tests/contracts/test_bulk_files.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

import numpy as np
import pyarrow as pa

from mrag_pipeline.errors import BadVectors
from mrag_pipeline.ports import BulkFile
from tests.support.fake_staging import as_matrix


class FakeBulkFiles:
    """The BulkFiles port in memory: each table is a file."""

    def __init__(self) -> None:
        self.files: dict[str, pa.Table] = {}  # by name, as a server would read them
        self._numbers = count()

    def write(self, collection: str, tables: Iterable[pa.Table]) -> Iterator[BulkFile]:
        for table in tables:
            if not table.num_rows:
                continue
            vectors = as_matrix(table)
            if not (np.isfinite(vectors).all() and vectors.any(axis=1).all()):
                raise BadVectors(f"bad vectors for {collection}")
            name = f"{collection}/{next(self._numbers)}"
            self.files[name] = table
            yield BulkFile(name, table.num_rows)

    def remove(self, collection: str) -> None:
        for name in [name for name in self.files if name.startswith(f"{collection}/")]:
            del self.files[name]
