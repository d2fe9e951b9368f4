"""The collections of an index on Milvus.

A collection is loaded whole or not at all: dropped, created without an index, filled, flushed,
indexed, loaded into memory, counted. One that has no index yet was cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from threading import Semaphore
from typing import TYPE_CHECKING

from mrag_pipeline.domain.version import live_alias, version_in
from mrag_pipeline.errors import IndexDamaged, NoLiveVersion, PlanRefused
from mrag_pipeline.index.analyzer import check_analyzers
from mrag_pipeline.index.milvus import lite, rows
from mrag_pipeline.index.milvus.bulk_import import BulkImport, ImportTasks
from mrag_pipeline.index.milvus.connection import translated
from mrag_pipeline.index.milvus.full_text import (
    add_lexical_index,
    lexical_rows,
    lexical_schema,
)
from mrag_pipeline.index.milvus.insert import insert
from mrag_pipeline.index.milvus.lite_filter_rows import changing
from mrag_pipeline.index.milvus.pymilvus_private import has_bulk_calls
from mrag_pipeline.index.milvus.room import check_room
from mrag_pipeline.index.milvus.schema import METRIC, build_params, schema
from mrag_pipeline.index.milvus.stored_rows import MilvusRows
from mrag_pipeline.index.milvus.versions import MilvusVersions
from mrag_pipeline.ports import BulkFiles, CollectionSpec, StagedTable, StagedTables, as_table
from mrag_pipeline.settings.milvus import MilvusSpec

if TYPE_CHECKING:
    import pyarrow as pa

# Two collections' inserts keep a server busy; the others flush, index and load meanwhile.
_INSERT_STREAMS = 2
# Of all collections that are loaded at a time. 2.3.5 does one after the other, in their order: with
# more, a collection's tasks wait so long for the others' that the server would seem to be stuck.
# Servers from 2.4 on allow 1,024 for all their users.
_IMPORT_TASKS = 64


class MilvusCollections(MilvusRows, MilvusVersions):
    """The Collections port on one Milvus database; it counts rows and spares the live version."""

    def __init__(self, spec: MilvusSpec, index: str, files: BulkFiles | None = None) -> None:
        super().__init__(spec, index)
        self._insert_slots = Semaphore(_INSERT_STREAMS)
        self._import: BulkImport | None = None
        self._import_tasks: ImportTasks | None = None
        can_import = self._capabilities.has_bulk_import and has_bulk_calls(self._client)
        if can_import:  # a run with another config may have asked for imports
            self._import_tasks = ImportTasks(self._client, spec)
        # Vectors of 16 bits would be lists of bytes in the files: not tried on any server.
        if files is not None and can_import and spec.vector_dtype == "float32":
            self._import = BulkImport(self._client, spec, files)

    def check_limits(
        self, collections: Sequence[CollectionSpec], num_chunks: int
    ) -> tuple[str, ...]:
        """Refuses what this Milvus, or its disk, cannot hold or should not.

        Returns: a warning where that is near.
        Raises: PlanRefused.
        """
        self._capabilities.check_collections(collections)
        check_analyzers(collections)
        if self._path is not None:
            lite.check_space(self._path, collections, num_chunks)
        if self._release.is_lite:  # it opens a collection's files when they are asked for
            return ()
        with translated("cannot list collections"):
            existing = set(self._client.list_collections(timeout=self._spec.timeout_s))
        return check_room(existing, {collection.name for collection in collections}, self._spec)

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
        self.drop(collection.name)
        return self._build(collection, tables, on_rows)

    def rebuild(self, collection: CollectionSpec, tables: Iterable[pa.Table]) -> int:
        """Builds a damaged collection anew, also one of the live version, which stays live."""
        name = collection.name
        version = version_in(self._index, name)
        has_alias = collection.kind == "chunks" and version is not None and version == self.live()
        with changing(self._path, name), translated(f"cannot drop {name}"):
            self._forget(name)
            if self._path is not None:
                lite.remove_damaged(self._client, self._path, name, self._spec.timeout_s)
            elif self._exists(name):
                self._settle(name)
                # Newer servers refuse to drop what has an alias; older ones keep the alias.
                if has_alias:
                    self._client.drop_alias(live_alias(self._index), timeout=self._spec.timeout_s)
                self._client.drop_collection(name, timeout=self._spec.timeout_s)
        num_rows = self._build(collection, tables, None)
        if has_alias:
            self.activate(str(version))
        return num_rows

    def damage(self, collection: str) -> str | None:
        """Why a collection cannot be used; every file of Lite's is read, of a server's a block."""
        try:
            with translated(f"cannot look at {collection}"):
                if not self._exists(collection):
                    return "it does not exist"
                if not self._is_indexed(collection):
                    return "it has no index: building it was cut short, or its manifest is lost"
            ids = self.ids(collection)
            # A server says what it cannot read when it is asked for it, which items do later.
            num_blocks = 1 if self._path is None else None
            for _ in islice(ids, num_blocks):
                pass
        except NoLiveVersion:
            return "it does not exist"
        except (PlanRefused, IndexDamaged) as error:
            if self._path is None:
                raise  # what a server refuses may be whole
            return error.found
        return None

    def _build(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None,
    ) -> int:
        name = collection.name
        with changing(self._path, name), translated(f"cannot load {name}"):
            # One channel: ours are far smaller than what one of a server's carries.
            self._create(collection, num_channels=1)
            self._fill(collection, tables, on_rows or (lambda _: None))
            # Index last: its presence is what makes the collection whole.
            self._create_index(collection)
            self._ensure_loaded(name)
        return self.count(name)

    def is_complete(self, collection: CollectionSpec, num_rows: int) -> bool:
        """Whether the collection exists, is indexed and loaded, and has exactly so many rows."""
        try:
            with translated(f"cannot look at {collection.name}"):
                if not self._exists(collection.name) or not self._is_indexed(collection.name):
                    return False
            return self.count(collection.name) == num_rows
        except (PlanRefused, NoLiveVersion):
            # Dropped meanwhile, or half of it is gone: in either case not complete.
            return False

    def collections(self) -> list[str]:
        """The names of this index's collections, sorted."""
        with translated("cannot list collections"):
            names = self._client.list_collections(timeout=self._spec.timeout_s)
        return sorted(name for name in names if version_in(self._index, name) is not None)

    def drop(self, collection: str) -> None:
        """Removes a collection if it exists.

        Raises: PlanRefused if it belongs to the live version: Milvus would drop its alias too,
        without an error.
        """
        version = version_in(self._index, collection)
        if version is not None and version == self.live():
            raise PlanRefused(
                f"{collection} belongs to the live version {version}",
                "a version that is not live",
                "publish another version first; what is damaged in this one, `mrag repair` mends",
            )
        with changing(self._path, collection), translated(f"cannot drop {collection}"):
            self._forget(collection)
            if self._exists(collection):
                self._settle(collection)
                self._client.drop_collection(collection, timeout=self._spec.timeout_s)
            elif self._path is not None:
                lite.remove_leftover(self._path, collection)
        if self._import is not None:  # also where a drop was cut short before this
            self._import.remove_copies(collection)

    # -------------------------------------------------------------- inside
    def _settle(self, collection: str) -> None:
        """Waits until no import writes to the collection, which is to be dropped."""
        if self._import is not None:
            self._import.settle(collection)
        elif self._import_tasks is not None:
            self._import_tasks.settle_if_listed(collection)

    def _forget(self, collection: str) -> None:
        """What is known of a collection, before another takes its name."""
        self._loaded.discard(collection)
        self._vector_types.pop(collection, None)
        self._has_proof.pop(collection, None)
        self._range_names.pop(collection, None)

    def _create(self, collection: CollectionSpec, num_channels: int) -> None:
        self._client.create_collection(
            collection.name,
            schema=lexical_schema()
            if collection.lexical is not None
            else schema(collection, self._spec.vector_dtype, self._release.has_defaults),
            num_shards=num_channels,
            consistency_level=self._spec.consistency,
            timeout=self._spec.timeout_s,
        )

    def _fill(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None],
    ) -> None:
        name = collection.name
        if self._import is not None and collection.lexical is None:
            first: list[pa.Table | StagedTable] = []
            num_rows, rest = 0, _left_in_files(tables)
            for table in rest:
                first.append(table)
                num_rows += table.num_rows
                if num_rows >= self._spec.bulk_min_rows:
                    every = self._complete(collection, chain(first, rest))
                    # The chunks are loaded alone.
                    at_once = 1 if collection.kind == "chunks" else self._spec.load_threads
                    self._import.fill(name, every, on_rows, max(1, _IMPORT_TASKS // at_once))
                    return
            tables = map(as_table, first)
        with self._insert_slots:
            for batch in self._batches(collection, tables):
                self._insert(collection, batch)
                on_rows(batch.num_rows)
        self._client.flush(name, timeout=self._spec.build_timeout_s)

    def _batches(
        self, collection: CollectionSpec, tables: Iterable[pa.Table]
    ) -> Iterator[pa.Table]:
        """What each insert sends."""
        for table in self._complete(collection, tables):
            yield from rows.batches(as_table(table), self._spec.insert_rows)

    def _complete(
        self, collection: CollectionSpec, tables: Iterable[pa.Table | StagedTable]
    ) -> Iterator[pa.Table | StagedTable]:
        """Chunks with a column of proofs; a staged file of chunks has one."""
        if collection.kind != "chunks":
            return iter(tables)
        return (
            table if isinstance(table, StagedTable) else rows.with_proofs(table, True)
            for table in tables
        )

    def _insert(self, collection: CollectionSpec, batch: pa.Table, partition: str = "") -> None:
        name, timeout_s = collection.name, self._spec.timeout_s
        if collection.lexical is not None:
            words = lexical_rows(batch, collection.lexical)
            self._client.insert(name, words, timeout=timeout_s, partition_name=partition)
        else:
            insert(
                self._client,
                name,
                batch,
                timeout_s,
                self._spec.vector_dtype,
                self._release.has_defaults,
                partition,
            )

    def _create_index(self, collection: CollectionSpec) -> None:
        params = self._client.prepare_index_params()
        if collection.lexical is not None:
            add_lexical_index(params, collection.lexical)
        else:
            params.add_index(
                "vector",
                index_type=self._index_type,
                metric_type=METRIC,
                params=build_params(self._index_type, self._spec.index_params),
            )
        # Lite builds in `load_collection`; waiting here would only be pymilvus's half second.
        self._client.create_index(
            collection.name,
            params,
            sync=not self._release.is_lite,
            timeout=self._spec.build_timeout_s,
        )


def _left_in_files(tables: Iterable[pa.Table]) -> Iterator[pa.Table | StagedTable]:
    """What may stay in staging's files is not read yet."""
    return tables.in_files() if isinstance(tables, StagedTables) else iter(tables)
