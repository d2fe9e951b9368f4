"""What is read of an index on Milvus: Lite in this process, or a server.

Shape legend: D dimension.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymilvus import MilvusException

from mrag_pipeline.domain.filters import Filter, matches
from mrag_pipeline.domain.version import VersionRecord, live_alias, version_in
from mrag_pipeline.errors import NoLiveVersion, PlanRefused
from mrag_pipeline.index.milvus import lite, rows
from mrag_pipeline.index.milvus.capabilities import MilvusRelease
from mrag_pipeline.index.milvus.connection import connect, disconnect, translated
from mrag_pipeline.index.milvus.direct_calls import DirectCalls
from mrag_pipeline.index.milvus.expressions import Expression, both, expression, ids_in
from mrag_pipeline.index.milvus.lite_filter_rows import LiteRows, Rows
from mrag_pipeline.index.milvus.records import RecordStore
from mrag_pipeline.index.milvus.row_reader import RowReader
from mrag_pipeline.index.milvus.schema import (
    CHUNK_FIELDS,
    FILTER_FIELDS,
    check_params,
    quoted,
    vector_type,
)
from mrag_pipeline.index.milvus.search import CollectionSearches
from mrag_pipeline.ports import (
    ChunkRow,
    CollectionSpec,
    IndexCapabilities,
    Mark,
    Ranking,
    SearchRequest,
)
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.settings.vectors import VectorType

_MATCHED_PER_QUERY = 4_096  # without texts
_ORDINALS_PER_QUERY = 4_096  # a server answers 16,384 rows at most
_MOST_ROWS = 16_000  # the same, of an answer of ids
_ALIAS_NOT_FOUND = (100, 1600)  # Lite, server


class MilvusReader:
    """One connection to one Milvus database, safe to share by threads; changes nothing."""

    def __init__(self, spec: MilvusSpec, index: str) -> None:
        self._spec = spec
        self._index = index
        self._path = lite.database_path(spec.uri)
        self._client = connect(spec)
        self._closed = False
        try:
            with translated(f"cannot ask {spec.uri} for its version"):
                told = str(self._client.get_server_version(timeout=spec.timeout_s))
            self._backend = MilvusRelease.of(told)
            self._index_type = self._backend.check_index_type(spec.index_type)
            check_params(self._index_type, spec.index_params, spec.search_params)
            self._backend.check_vector_dtype(spec.vector_dtype)
        except BaseException:
            self.close()
            raise
        self._capabilities = self._backend.capabilities(spec, self._index_type, self._path is None)
        self._records = RecordStore(self._client, spec, index)
        self._rows = None if self._path is None else LiteRows(self._path, self._filtered)
        self._loaded: set[str] = set()
        self._loading: defaultdict[str, Lock] = defaultdict(Lock)
        self._vector_types: dict[str, VectorType] = {}
        self._direct = DirectCalls(self._client, spec, self._index_type)
        self._reads = RowReader(self._client, self._direct, spec, self._ready)
        self._searches = CollectionSearches(
            self._client,
            self._direct,
            spec,
            self._index_type,
            self._capabilities.searches_at_once,
            self._ready,
            self._vector_type,
        )

    def describe(self) -> str:
        """One line for people: what it is, where."""
        return f"{self._backend} at {self._spec.uri}"

    def capabilities(self) -> IndexCapabilities:
        """What this Milvus can do, as far as the config allows it."""
        return self._capabilities

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

    # -------------------------------------------------------------- searching
    def search(self, requests: Sequence[SearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests; on a server they run at the same time."""
        return self._searches.search(requests)

    def search_within(
        self, requests: Sequence[SearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """As `search`; None for what is not answered in so many seconds, or not at all."""
        return self._searches.search_within(requests, seconds)

    def matching(
        self,
        collection: str,
        wanted: Filter,
        ids: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> NDArray[np.int64]:
        """The ids of the rows that match, rising."""
        if self._rows is not None:
            known = self._rows.of(collection)
            some = known if ids is None else known.keys() & {int(one) for one in ids}
            every = (one for one in some if matches(wanted, known[one]))
            return np.array(sorted(islice(every, limit)), dtype=np.int64)
        asked = expression(wanted, self._backend.is_lite)
        found: list[int] = []
        for block in self._candidates(collection, asked, ids, limit):
            if asked.is_exact:
                found += [row["chunk_id"] for row in block]
            else:
                matched = (row for row in block if matches(wanted, rows.filtered(row)))
                found += [row["chunk_id"] for row in matched]
            if limit is not None and len(found) >= limit:
                break
        return np.unique(np.array(found[:limit], dtype=np.int64))

    def _filtered(self, collection: str) -> Rows:
        blocks = self._reads.blocks(collection, FILTER_FIELDS, self.count(collection))
        return {row["chunk_id"]: rows.filtered(row) for block in blocks for row in block}

    def _candidates(
        self,
        collection: str,
        asked: Expression,
        ids: Sequence[int] | None,
        limit: int | None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Rows among which are all that match, in blocks."""
        fields = ("chunk_id",) if asked.is_exact else FILTER_FIELDS
        if ids is not None:
            for at in range(0, len(ids), _MATCHED_PER_QUERY):
                some = both(ids_in(ids[at : at + _MATCHED_PER_QUERY]), asked.text)
                yield self._reads.rows(collection, some, fields)
        elif asked.is_exact and limit is not None and limit <= _MOST_ROWS and asked.text:
            yield self._reads.rows(collection, asked.text, fields, limit)
        else:
            level = self._spec.consistency  # that of searches: they read the same rows
            total = 0 if asked.text else self.count(collection)  # who knows how many match
            yield from self._reads.blocks(collection, fields, total, asked.text, level)

    # -------------------------------------------------------------- rows
    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """The document of each row that exists, and some likely rows, read meanwhile.

        Lite takes one call at a time: there nothing is read before it is wanted.
        """
        early: Callable[[], list[dict[str, Any]]] | None = None
        if likely and not self._backend.is_lite and collection in self._loaded:
            early = self._reads.begun(collection, likely, CHUNK_FIELDS)
        found = self._reads.by_id(collection, ids, ("chunk_id", "document_id"))
        documents = {row["chunk_id"]: row["document_id"] for row in found}
        likely_rows = early() if early is not None else []
        return documents, {row["chunk_id"]: rows.chunk(row) for row in likely_rows}

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """The rows that exist, by id."""
        found = self._reads.by_id(collection, ids, CHUNK_FIELDS)
        return {row["chunk_id"]: rows.chunk(row) for row in found}

    def chunks_of_document(self, collection: str, document_id: str) -> list[ChunkRow]:
        """A document's rows, by ordinal."""
        mine = f"document_id == {quoted(document_id)}"
        found: list[ChunkRow] = []
        start = 0
        while True:
            stop = start + _ORDINALS_PER_QUERY
            page = self._reads.rows(
                collection, f"{mine} and ordinal >= {start} and ordinal < {stop}", CHUNK_FIELDS
            )
            found += [rows.chunk(row) for row in page]
            if len(page) < _ORDINALS_PER_QUERY:
                return sorted(found, key=lambda row: row.ordinal)
            start = stop

    def vectors(self, collection: str, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors that exist, by id: each (D,)."""
        found = self._reads.by_id(collection, ids, ("chunk_id", "vector"))
        if not found:
            return {}
        dtype = self._vector_type(collection)
        return {row["chunk_id"]: rows.answered(row["vector"], dtype) for row in found}

    def ids(self, collection: str) -> Iterator[NDArray[np.int64]]:
        """Every row's id once, in blocks."""
        for block in self._reads.blocks(collection, ("chunk_id",), self.count(collection)):
            yield np.array([row["chunk_id"] for row in block], dtype=np.int64)

    def marks(self, collection: str) -> Iterator[Sequence[Mark]]:
        """Every row of a chunks collection once, in blocks."""
        fields = ("chunk_id", "document_id", "fingerprint")
        for block in self._reads.blocks(collection, fields, self.count(collection)):
            yield [Mark(row["chunk_id"], row["document_id"], row["fingerprint"]) for row in block]

    # -------------------------------------------------------------- versions
    def live(self) -> str | None:
        """The live version's name."""
        target = self._alias_target()
        return None if target is None else version_in(self._index, target)

    def record(self, version: str) -> VersionRecord | None:
        """A version's record."""
        return self._records.read(version)

    def records(self) -> list[VersionRecord]:
        """All records, oldest first."""
        return self._records.all()

    def size_bytes(self) -> int | None:
        """The Lite database's files, all its indexes together; None on a server."""
        return None if self._path is None else lite.size_bytes(self._path)

    def close(self) -> None:
        """Lets go of the connection and of Lite's lock; a second call does nothing."""
        if not self._closed:
            self._closed = True
            if hasattr(self, "_searches"):
                self._searches.close()
            disconnect(self._client, self._spec)

    # -------------------------------------------------------------- inside
    def _ready(self, collection: str) -> None:
        """In memory: Lite forgets that when it is opened again."""
        if collection in self._loaded:
            return
        # One thread at a time: a second load makes the collection unreadable for the first.
        with self._loading[collection]:
            if collection not in self._loaded:
                copies = 1 if self._backend.is_lite else self._spec.replicas
                more = {"replica_number": copies} if copies > 1 else {}
                self._client.load_collection(collection, timeout=self._spec.build_timeout_s, **more)
                self._loaded.add(collection)

    def _vector_type(self, collection: str) -> VectorType:
        """What its vectors are stored as, which the config may have changed since; asked once."""
        if not self._backend.has_halves:
            return "float32"
        if collection not in self._vector_types:
            told = self._client.describe_collection(collection, timeout=self._spec.timeout_s)
            self._vector_types[collection] = vector_type(told)
        return self._vector_types[collection]

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
