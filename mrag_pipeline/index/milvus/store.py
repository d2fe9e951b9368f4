"""Milvus as a store: what wiring needs to open an index on it and to lock one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.index.milvus.lease_table import open_lease_table
from mrag_pipeline.index.milvus.lite import database_path
from mrag_pipeline.index.milvus.named_texts import NamedTexts
from mrag_pipeline.index.milvus.read_only import is_read_only, refusal
from mrag_pipeline.ports import BulkFiles, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec


@dataclass(frozen=True, slots=True)
class MilvusStore:
    """One index in Milvus Lite or on a server; nothing is opened yet."""

    spec: MilvusSpec
    index: str

    def open(self, files: BulkFiles | None = None) -> VectorIndex:
        """The index; close it.

        Args:
            files: where a server with bulk import finds large collections; None: all is inserted.
        Raises: ConfigError, IndexBusy if another process has the Lite database, IndexUnavailable.
        """
        return open_index(self.spec, self.index, files)

    def local_path(self) -> Path | None:
        """The Lite database, which one process owns; None for a server, which many share.

        Raises: ConfigError.
        """
        return database_path(self.spec.uri)

    def check_writable(self) -> None:
        """Refuses a run that would change a database which this user can only read.

        Raises: ConfigError.
        """
        path = self.local_path()
        if path is not None and is_read_only(path):
            raise refusal(path)

    def lease_table(self) -> AbstractContextManager[NamedTexts]:
        """Where a server keeps the index's lease; the connection ends with the block.

        Raises: ConfigError, IndexUnavailable.
        """
        return open_lease_table(self.spec, self.index)
