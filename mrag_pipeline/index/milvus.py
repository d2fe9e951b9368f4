"""The VectorIndex port on Milvus: Lite in this process, or a server.

A collection is loaded whole or not at all: dropped, created bare, filled, flushed, indexed,
loaded, counted. One that has no index yet was cut short.
Shape legend: W queries, D dimension, c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pymilvus import MilvusException

from mrag_pipeline.domain.version import (
    VersionRecord,
    check_index_name,
    chunks_collection,
    live_alias,
    version_in,
)
from mrag_pipeline.errors import NoLiveVersion, PlanRefused
from mrag_pipeline.index import lite, rows
from mrag_pipeline.index.connection import connect, disconnect, translated
from mrag_pipeline.index.records import RecordStore
from mrag_pipeline.index.schema import (
    CHUNK_FIELDS,
    MAX_DIM,
    METRIC,
    build_params,
    check_index_type,
    quoted,
    schema,
    search_params,
)
from mrag_pipeline.index.spec import MilvusSpec
from mrag_pipeline.ports import (
    ChunkRow,
    CollectionSpec,
    Mark,
    Ranking,
    SearchRequest,
    VectorIndex,
)

if TYPE_CHECKING:
    import pyarrow as pa

_IDS_PER_QUERY = 512  # texts of 64 KB at most: 32 MB an answer
_IDS_PER_DELETE = 4_096
_ORDINALS_PER_QUERY = 4_096  # a server answers 16,384 rows at most
_BLOCK_ROWS = 4_000  # ids or marks of one answer; a server answers 16,384 rows at most
_IDS = 2**63  # chunk ids are below it, and spread evenly
_ALIAS_NOT_FOUND = (100, 1600)  # Lite, server


def open_index(spec: MilvusSpec, index: str) -> VectorIndex:
    """The index's collections in Milvus Lite or on a server; nothing is created in it yet.

    Raises: ConfigError, IndexBusy if another process has the Lite database, IndexUnavailable.
    """
    return MilvusIndex(spec, check_index_name(index))


class MilvusIndex:
    """The VectorIndex port on one Milvus database; one connection, safe to share by threads."""

    def __init__(self, spec: MilvusSpec, index: str) -> None:
        self._spec = spec
        self._index = index
        self._path = lite.path_of(spec.uri)
        self._client = connect(spec)
        self._closed = False
        try:
            with translated(f"cannot ask {spec.uri} for its version"):
                self._server_version = str(self._client.get_server_version(timeout=spec.timeout_s))
            self._lite = self._server_version.startswith("milvus_lite")
            self._index_type = check_index_type(spec.index_type, self._lite)
        except BaseException:
            self.close()
            raise
        self._records = RecordStore(self._client, spec, index)
        self._loaded: set[str] = set()
        self._loading = Lock()
        self._threads: ThreadPoolExecutor | None = None

    def describe(self) -> str:
        """One line for people: what it is, where."""
        if self._lite:
            version = self._server_version.removeprefix("milvus_lite-")
            return f"Milvus Lite {version} at {self._spec.uri}"
        return f"Milvus {self._server_version.removeprefix('v')} at {self._spec.uri}"

    def check_limits(self, collections: Sequence[CollectionSpec], num_chunks: int) -> None:
        """Refuses what the backend cannot hold.

        Raises: PlanRefused.
        """
        for collection in collections:
            if not 2 <= collection.dim <= MAX_DIM:
                raise PlanRefused(
                    f"{collection.name} would have {collection.dim} dimensions",
                    f"2 to {MAX_DIM:,}, as Milvus has it",
                    "choose another encoder",
                )
            if len(collection.name) > 255:
                raise PlanRefused(
                    f"collection name {collection.name!r} has {len(collection.name)} characters",
                    "255 at most",
                    "shorten `index` in the config file",
                )
        if self._path is not None:
            lite.check_space(self._path, collections, num_chunks)

    # -------------------------------------------------------------- loading
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
        with translated(f"cannot load {name}"):
            self._client.create_collection(
                name,
                schema=schema(collection),
                consistency_level=self._spec.consistency,
                timeout=self._spec.timeout_s,
            )
            for table in tables:
                for batch in rows.batches(table, self._spec.insert_rows):
                    self._client.insert(name, rows.of(batch), timeout=self._spec.timeout_s)
                    if on_rows is not None:
                        on_rows(batch.num_rows)
            self._client.flush(name, timeout=self._spec.build_timeout_s)
            # Index last: its presence is what makes the collection whole.
            self._build_index(name)
        return self.count(name)

    def is_complete(self, collection: CollectionSpec, num_rows: int) -> bool:
        """Whether the collection is there, indexed, loaded and has just so many rows."""
        try:
            with translated(f"cannot look at {collection.name}"):
                if not self._exists(collection.name) or not self._indexed(collection.name):
                    return False
            return self.count(collection.name) == num_rows
        except (PlanRefused, NoLiveVersion):
            # Dropped while we looked, or half of it is gone: whatever it is, not complete.
            return False

    def count(self, collection: str) -> int:
        """Rows; 0 if there is no such collection."""
        with translated(f"cannot count {collection}"):
            if not self._exists(collection):
                return 0
            if not self._indexed(collection):
                stats = self._client.get_collection_stats(collection, timeout=self._spec.timeout_s)
                return int(stats.get("row_count", 0))
            self._ready(collection)
            answer = self._client.query(
                collection,
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=self._spec.timeout_s,
            )
            return int(answer[0]["count(*)"])

    def collections(self) -> list[str]:
        """The names of this index's collections, sorted."""
        with translated("cannot list collections"):
            names = self._client.list_collections(timeout=self._spec.timeout_s)
        return sorted(name for name in names if version_in(self._index, name) is not None)

    # -------------------------------------------------------------- changing
    def upsert(self, collection: CollectionSpec, table: pa.Table) -> None:
        """Adds rows to a loaded collection; a row whose id is there is replaced."""
        name = collection.name
        with translated(f"cannot add rows to {name}"):
            for batch in rows.batches(table, self._spec.insert_rows):
                self._client.upsert(name, rows.of(batch), timeout=self._spec.timeout_s)
            self._settle(name)

    def delete(self, collection: str, ids: Sequence[int]) -> None:
        """Removes the rows that exist."""
        with translated(f"cannot remove rows of {collection}"):
            for at in range(0, len(ids), _IDS_PER_DELETE):
                some = [int(i) for i in ids[at : at + _IDS_PER_DELETE]]
                self._client.delete(collection, ids=some, timeout=self._spec.timeout_s)
            self._settle(collection)

    def _settle(self, collection: str) -> None:
        # Lite searches unflushed rows 10 to 40 times slower. On a server a read at level
        # Strong waits until what was written is served; then weaker reads see it too.
        if self._lite:
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
        with translated(f"cannot drop {collection}"):
            self._loaded.discard(collection)
            if self._exists(collection):
                self._client.drop_collection(collection, timeout=self._spec.timeout_s)
            elif self._path is not None:
                lite.remove_leftover(self._path, collection)

    # -------------------------------------------------------------- reading
    def search(self, requests: Sequence[SearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests.

        On a server they run at the same time; Lite is Python and would only take turns.
        """
        if self._lite or len(requests) < 2:
            return [self._search(request) for request in requests]
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._spec.search_threads, "milvus-search")
        return list(self._threads.map(self._search, requests))

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """The rows that exist, by id."""
        found = self._by_id(collection, ids, CHUNK_FIELDS)
        return {row["chunk_id"]: rows.chunk(row) for row in found}

    def chunks_of_document(self, collection: str, document_id: str) -> list[ChunkRow]:
        """A document's rows, by ordinal."""
        mine = f"document_id == {quoted(document_id)}"
        found: list[ChunkRow] = []
        start = 0
        while True:
            stop = start + _ORDINALS_PER_QUERY
            page = self._query(
                collection, f"{mine} and ordinal >= {start} and ordinal < {stop}", CHUNK_FIELDS
            )
            found += [rows.chunk(row) for row in page]
            if len(page) < _ORDINALS_PER_QUERY:
                return sorted(found, key=lambda row: row.ordinal)
            start = stop

    def vectors(self, collection: str, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors that exist, by id: each (D,)."""
        found = self._by_id(collection, ids, ("chunk_id", "vector"))
        return {row["chunk_id"]: np.asarray(row["vector"], dtype=np.float32) for row in found}

    def ids(self, collection: str) -> Iterator[NDArray[np.int64]]:
        """Every row's id once, in blocks."""
        for block in self._blocks(collection, ("chunk_id",)):
            yield np.array([row["chunk_id"] for row in block], dtype=np.int64)

    def marks(self, collection: str) -> Iterator[Sequence[Mark]]:
        """Every row of a chunks collection once, in blocks."""
        for block in self._blocks(collection, ("chunk_id", "document_id", "fingerprint")):
            yield [Mark(row["chunk_id"], row["document_id"], row["fingerprint"]) for row in block]

    # -------------------------------------------------------------- versions
    def live(self) -> str | None:
        """The live version's name."""
        target = self._alias_target()
        return None if target is None else version_in(self._index, target)

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

    def record(self, version: str) -> VersionRecord | None:
        """A version's record."""
        return self._records.read(version)

    def records(self) -> list[VersionRecord]:
        """All records, oldest first."""
        return self._records.all()

    def drop_record(self, version: str) -> None:
        """Removes a version's record if there is one.

        Raises: PlanRefused if it is the live version's.
        """
        if version == self.live():
            raise PlanRefused(
                f"version {version} is live", "a version that nobody reads", "activate another"
            )
        self._records.drop(version)

    def size_bytes(self) -> int | None:
        """The Lite database's files, all its indexes together; None on a server."""
        return None if self._path is None else lite.size_bytes(self._path)

    def close(self) -> None:
        """Lets go of the connection and of Lite's lock; a second call does nothing."""
        if not self._closed:
            self._closed = True
            if getattr(self, "_threads", None) is not None:
                self._threads.shutdown()  # type: ignore[union-attr]
            disconnect(self._client, self._spec)

    # -------------------------------------------------------------- inside
    def _search(self, request: SearchRequest) -> Ranking:
        shape = (len(request.vectors), request.limit)
        ranking = Ranking(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
        if not len(request.vectors):
            return ranking
        with translated(f"cannot search {request.collection}"):
            self._ready(request.collection)
            answer = self._client.search(
                request.collection,
                data=list(np.ascontiguousarray(request.vectors, dtype=np.float32)),
                limit=request.limit,
                output_fields=["chunk_id"],  # without it Lite sends the vectors along
                search_params=search_params(self._index_type, request.limit),
                anns_field="vector",
                consistency_level=self._spec.consistency,
                timeout=self._spec.timeout_s,
            )
        for w, hits in enumerate(answer):
            ranking.ids[w, : len(hits)] = hits.ids
            ranking.scores[w, : len(hits)] = hits.distances
        return ranking

    def _by_id(
        self, collection: str, ids: Sequence[int], fields: Sequence[str]
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for at in range(0, len(ids), _IDS_PER_QUERY):
            wanted = ", ".join(str(int(i)) for i in ids[at : at + _IDS_PER_QUERY])
            found += self._query(collection, f"chunk_id in [{wanted}]", fields)
        return found

    def _blocks(self, collection: str, fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """All rows by ranges of ids, which neither Lite's nor any server's limits touch."""
        total = self.count(collection)
        width = max(1, _IDS * _BLOCK_ROWS // (2 * max(1, total)))
        ranges = [(at, min(at + width, _IDS)) for at in range(0, _IDS, width)][::-1]
        while ranges:
            start, stop = ranges.pop()
            matching = f"chunk_id >= {start} and chunk_id < {stop}"
            if stop == _IDS:  # no int64 itself
                matching = f"chunk_id >= {start}"
            block = self._query(collection, matching, fields, _BLOCK_ROWS, "Strong")
            if len(block) >= _BLOCK_ROWS and stop - start > 1:
                middle = (start + stop) // 2
                ranges += [(middle, stop), (start, middle)]
            elif block:
                yield block

    def _query(
        self,
        collection: str,
        matching: str,
        fields: Sequence[str],
        limit: int | None = None,
        consistency: str = "",
    ) -> list[dict[str, Any]]:
        bound = {} if limit is None else {"limit": limit}
        with translated(f"cannot read {collection}"):
            self._ready(collection)
            return list(
                self._client.query(
                    collection,
                    filter=matching,
                    output_fields=list(fields),
                    **bound,
                    consistency_level=consistency or self._spec.consistency,
                    timeout=self._spec.timeout_s,
                )
            )

    def _build_index(self, collection: str) -> None:
        params = self._client.prepare_index_params()
        params.add_index(
            "vector",
            index_type=self._index_type,
            metric_type=METRIC,
            params=build_params(self._index_type),
        )
        # Lite builds in `load_collection`; waiting here would only be pymilvus's half second.
        self._client.create_index(
            collection, params, sync=not self._lite, timeout=self._spec.build_timeout_s
        )
        self._ready(collection)

    def _ready(self, collection: str) -> None:
        """In memory: Lite forgets that when it is opened again."""
        if collection in self._loaded:
            return
        # One thread at a time: a second load makes the collection unreadable for the first.
        with self._loading:
            if collection not in self._loaded:
                self._client.load_collection(collection, timeout=self._spec.build_timeout_s)
                self._loaded.add(collection)

    def _exists(self, collection: str) -> bool:
        return bool(self._client.has_collection(collection, timeout=self._spec.timeout_s))

    def _indexed(self, collection: str) -> bool:
        return bool(self._client.list_indexes(collection))

    def _alias_target(self) -> str | None:
        alias = live_alias(self._index)
        with translated(f"cannot resolve {alias}"):
            try:
                answer = self._client.describe_alias(alias, timeout=self._spec.timeout_s)
            except MilvusException as error:
                if error.code in _ALIAS_NOT_FOUND:
                    return None
                raise
            return str(answer["collection_name"])
