"""The VectorIndex port on Milvus: Lite in this process, or a server.

A collection is loaded whole or not at all: dropped, created bare, filled, flushed, indexed,
loaded, counted. One that has no index yet was cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from threading import Semaphore
from typing import TYPE_CHECKING

from mrag_pipeline.domain.version import (
    VersionRecord,
    check_index_name,
    chunks_collection,
    live_alias,
    version_in,
)
from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.index.milvus import lite, rows
from mrag_pipeline.index.milvus.bulk_import import BulkImport
from mrag_pipeline.index.milvus.connection import translated
from mrag_pipeline.index.milvus.insert import insert
from mrag_pipeline.index.milvus.lite_filter_rows import changing
from mrag_pipeline.index.milvus.pymilvus_private import has_bulk_calls
from mrag_pipeline.index.milvus.reader import MilvusReader
from mrag_pipeline.index.milvus.schema import METRIC, build_params, schema
from mrag_pipeline.ports import BulkFiles, CollectionSpec, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec

if TYPE_CHECKING:
    import pyarrow as pa

_IDS_PER_DELETE = 4_096
# Two collections' inserts keep a server busy; the others flush, index and load meanwhile.
_STREAMS = 2


def open_index(spec: MilvusSpec, index: str, files: BulkFiles | None = None) -> VectorIndex:
    """The index's collections in Milvus Lite or on a server; nothing is created in it yet.

    Args:
        files: where a server with bulk import finds large collections; None: all is inserted.
    Raises: ConfigError, IndexBusy if another process has the Lite database, IndexUnavailable.
    """
    return MilvusIndex(spec, check_index_name(index), files)


class MilvusIndex(MilvusReader):
    """The VectorIndex port on one Milvus database; one connection, safe to share by threads."""

    def __init__(self, spec: MilvusSpec, index: str, files: BulkFiles | None = None) -> None:
        super().__init__(spec, index)
        self._inserting = Semaphore(_STREAMS)
        self._import: BulkImport | None = None
        # Vectors of 16 bits would be lists of bytes in the files: not tried on any server.
        is_possible = self._backend.imports_files and has_bulk_calls(self._client)
        if files is not None and is_possible and spec.vector_dtype == "float32":
            self._import = BulkImport(self._client, spec, files)

    def check_limits(self, collections: Sequence[CollectionSpec], num_chunks: int) -> None:
        """Refuses what the backend cannot hold.

        Raises: PlanRefused.
        """
        self.capabilities().check_collections(collections)
        if self._path is not None:
            lite.check_space(self._path, collections, num_chunks)
        if not self._backend.is_lite:
            self._check_room(collections)

    def _check_room(self, collections: Sequence[CollectionSpec]) -> None:
        with translated("cannot list collections"):
            there = set(self._client.list_collections(timeout=self._spec.timeout_s))
        new = {collection.name for collection in collections} - there
        if len(there) + len(new) > self._spec.max_collections:
            raise PlanRefused(
                f"{len(there)} collections are there, and {len(new)} would come",
                f"{self._spec.max_collections:,} at most (milvus.max_collections)",
                "drop versions that nobody reads (`mrag retire --keep 0`), or raise the limit "
                "here and on the server",
            )

    def load(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None = None,
    ) -> int:
        """Builds the collection anew from tables and counts it.

        Raises: PlanRefused if the collection belongs to the live version, or for rows that
        Milvus does not take.
        """
        name = collection.name
        self.drop(name)
        with changing(self._path, name), translated(f"cannot load {name}"):
            self._client.create_collection(
                name,
                schema=schema(collection, self._spec.vector_dtype),
                num_shards=1,  # ours are far smaller than what one of a server's carries
                consistency_level=self._spec.consistency,
                timeout=self._spec.timeout_s,
            )
            self._fill(name, tables, on_rows or (lambda _: None))
            # Index last: its presence is what makes the collection whole.
            self._build_index(name)
        return self.count(name)

    def _fill(self, name: str, tables: Iterable[pa.Table], on_rows: Callable[[int], None]) -> None:
        tables = iter(tables)
        if self._import is not None:
            first, num_rows = [], 0
            for table in tables:
                first.append(table)
                num_rows += table.num_rows
                if num_rows >= self._spec.bulk_min_rows:
                    self._import.fill(name, chain(first, tables), on_rows)
                    return
            tables = iter(first)
        with self._inserting:
            for table in tables:
                for batch in rows.batches(table, self._spec.insert_rows):
                    insert(
                        self._client,
                        name,
                        batch,
                        self._spec.timeout_s,
                        self._spec.vector_dtype,
                    )
                    on_rows(batch.num_rows)
        self._client.flush(name, timeout=self._spec.build_timeout_s)

    # -------------------------------------------------------------- changing
    def upsert(self, collection: CollectionSpec, table: pa.Table) -> None:
        """Adds rows to a loaded collection; a row whose id is there is replaced."""
        name = collection.name
        with changing(self._path, name), translated(f"cannot add rows to {name}"):
            dtype = self._vector_type(name)
            for batch in rows.batches(table, self._spec.insert_rows):
                self._client.upsert(name, rows.of(batch, dtype), timeout=self._spec.timeout_s)
            self._settle(name)

    def delete(self, collection: str, ids: Sequence[int]) -> None:
        """Removes the rows that exist."""
        with changing(self._path, collection), translated(f"cannot remove rows of {collection}"):
            for at in range(0, len(ids), _IDS_PER_DELETE):
                some = [int(i) for i in ids[at : at + _IDS_PER_DELETE]]
                self._client.delete(collection, ids=some, timeout=self._spec.timeout_s)
            self._settle(collection)

    def _settle(self, collection: str) -> None:
        # Lite searches unflushed rows 10 to 40 times slower. On a server a read at level
        # Strong waits until what was written is served; then weaker reads see it too.
        if self._backend.is_lite:
            self._client.flush(collection, timeout=self._spec.build_timeout_s)
        self._ready(collection)
        self._client.query(
            collection,
            filter="chunk_id == 0",
            output_fields=["chunk_id"],
            consistency_level="Strong",
            timeout=self._spec.timeout_s,
        )

    def drop(self, collection: str) -> None:
        """Removes a collection if it is there.

        Raises: PlanRefused if it belongs to the live version (Milvus would take its alias
        along without a word).
        """
        version = version_in(self._index, collection)
        if version is not None and version == self.live():
            raise PlanRefused(
                f"{collection} belongs to the live version {version}",
                "a version that nobody reads",
                "publish another version first",
            )
        with changing(self._path, collection), translated(f"cannot drop {collection}"):
            self._loaded.discard(collection)
            self._vector_types.pop(collection, None)
            if self._exists(collection):
                if self._import is not None:
                    self._import.settle(collection)
                self._client.drop_collection(collection, timeout=self._spec.timeout_s)
            elif self._path is not None:
                lite.remove_leftover(self._path, collection)

    def activate(self, version: str) -> None:
        """Makes a version live: one atomic flip of one alias.

        Raises: PlanRefused if the version's chunks collection is not there.
        """
        target = chunks_collection(self._index, version)
        alias = live_alias(self._index)
        with translated(f"cannot make {version} live"):
            if not self._exists(target):
                raise PlanRefused(
                    f"version {version} has no collection {target}",
                    "a loaded version",
                    "run `mrag ingest`; `mrag status` lists the versions",
                )
            flip = (
                self._client.create_alias
                if self._alias_target() is None
                else self._client.alter_alias
            )
            flip(target, alias, timeout=self._spec.timeout_s)

    def write_record(self, record: VersionRecord) -> None:
        """Stores a version's record, replacing an earlier one whole."""
        self._records.write(record)

    def drop_record(self, version: str) -> None:
        """Removes a version's record if there is one.

        Raises: PlanRefused if it is the live version's.
        """
        if version == self.live():
            raise PlanRefused(
                f"version {version} is live", "a version that nobody reads", "activate another"
            )
        self._records.drop(version)

    def _build_index(self, collection: str) -> None:
        params = self._client.prepare_index_params()
        params.add_index(
            "vector",
            index_type=self._index_type,
            metric_type=METRIC,
            params=build_params(self._index_type, self._spec.index_params),
        )
        # Lite builds in `load_collection`; waiting here would only be pymilvus's half second.
        self._client.create_index(
            collection, params, sync=not self._backend.is_lite, timeout=self._spec.build_timeout_s
        )
        self._ready(collection)
