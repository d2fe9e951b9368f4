"""A version's vectors in this process's memory, searched here instead of in the index.

With the ids of the chunks' documents, an answer needs one call to the index, for its texts.

A call costs a server about 3 ms before it compares a number, and a question makes 13 of them; the
numbers of a small version are one product of matrices. The rankings are those of exact search:
equal scores are ordered by the smaller id. The index still answers what asks for no vector.
Shape legend: N rows in B blocks of b, D dimension, W queries, c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.ports import (
    AnySearchRequest,
    ChunkRow,
    CollectionSpec,
    IndexCapabilities,
    QueryIndex,
    Ranking,
    Rows,
    SearchRequest,
)
from mrag_pipeline.query.held_rows import HeldRows

R = TypeVar("R")

# What a chunk takes beside its vectors: its id twice, its place in the map of documents, and its
# share of the documents' ids.
_CHUNK_BYTES = 150


class HeldVectors:
    """The vectors of a version's collections; never changes. Threads may share it."""

    def __init__(
        self, rows: Mapping[str, HeldRows], chunks_collection: str, documents: Mapping[int, str]
    ) -> None:
        """The rows by collection, the document ids by chunk id."""
        self._rows = rows
        self._chunks_collection = chunks_collection
        self._documents = documents

    @classmethod
    def read(
        cls, index: Rows, record: VersionRecord, is_stopped: Callable[[], bool] = lambda: False
    ) -> HeldVectors | None:
        """Reads every vector of the version, and every chunk's document; None if it is stopped.

        Raises: VerifyFailed if a collection has other rows than the record and the chunks
            collection say; IndexBusy, IndexUnavailable.
        """
        chunks = record.chunks_collection()
        documents: dict[int, str] = {}
        names: dict[str, str] = {}  # each document's id once
        for marks in index.marks(chunks):
            if is_stopped():
                return None
            for mark in marks:
                documents[mark.id] = names.setdefault(mark.document_id, mark.document_id)
        if len(documents) != record.num_chunks:
            raise _not_complete(_counted(chunks, len(documents), record))
        ids = np.sort(np.fromiter(documents, np.int64, len(documents)))
        rows: dict[str, HeldRows] = {}
        for collection in _collections(record):
            read = rows[collection.name] = HeldRows.empty(ids, collection.dim)
            for block_ids, vectors in index.vector_blocks(collection):
                if is_stopped():
                    return None
                if not read.put(block_ids, vectors):
                    raise _not_complete(f"{collection.name} has a row of no chunk")
            if not read.is_full():
                raise _not_complete(f"{collection.name} lacks a row of a chunk")
        return cls(rows, chunks, documents)

    def __contains__(self, collection: object) -> bool:
        return collection in self._rows

    def search(
        self, request: SearchRequest, wanted: dict[int, NDArray[np.int64]] | None = None
    ) -> Ranking:
        """The ranking of a collection that is held.

        Args:
            wanted: the rows of each `among`, by its `id()`, while the requests live; is updated.
        """
        rows = self._rows[request.collection]
        if request.among is None:
            return rows.search(request.vectors, request.limit)
        known = {} if wanted is None else wanted
        key = id(request.among)
        if key not in known:
            # Every collection has the same rows in the same places.
            known[key] = rows.places(request.among)
        return rows.search(request.vectors, request.limit, known[key])

    def documents(self, collection: str, ids: Sequence[int]) -> dict[int, str] | None:
        """The document of each chunk that exists; None for another collection."""
        if collection != self._chunks_collection:
            return None
        known = self._documents
        return {chunk_id: known[chunk_id] for chunk_id in ids if chunk_id in known}


class HeldIndex:
    """An index whose vectors are searched in memory; texts, filters, words are its own."""

    def __init__(self, index: QueryIndex, held: HeldVectors) -> None:
        self._index = index
        self._held = held

    def capabilities(self) -> IndexCapabilities:
        """The index's own."""
        return self._index.capabilities()

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests."""
        return self._searched(requests, self._index.search)

    def search_within(
        self, requests: Sequence[AnySearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """As `search`; what is held is always answered."""
        return self._searched(requests, lambda asked: self._index.search_within(asked, seconds))

    def matching(
        self,
        collection: str,
        wanted: Filter,
        ids: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> NDArray[np.int64]:
        """As the index."""
        return self._index.matching(collection, wanted, ids, limit)

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """The documents; no row: with the documents known, those of the hits are read at once."""
        documents = self._held.documents(collection, ids)
        if documents is None:
            return self._index.look_up(collection, ids, likely)
        return documents, {}

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """As the index."""
        return self._index.chunks(collection, ids)

    def _searched(
        self,
        requests: Sequence[AnySearchRequest],
        ask: Callable[[list[AnySearchRequest]], Sequence[R]],
    ) -> list[R | Ranking]:
        """What is held is searched here; the others are asked for together."""
        here: dict[int, SearchRequest] = {}
        asked: dict[int, AnySearchRequest] = {}
        for number, request in enumerate(requests):
            if isinstance(request, SearchRequest) and request.collection in self._held:
                here[number] = request
            else:
                asked[number] = request
        rankings: dict[int, R | Ranking] = {}
        if asked:
            rankings.update(zip(asked, ask(list(asked.values())), strict=True))
        wanted: dict[int, NDArray[np.int64]] = {}
        for number, request in here.items():
            rankings[number] = self._held.search(request, wanted)
        return [rankings[number] for number in range(len(requests))]


def held_bytes(record: VersionRecord) -> int:
    """About what a version takes in memory."""
    card = record.encoder
    numbers = len(card.heads) * card.head_dim + card.standard_dim
    return record.num_chunks * (4 * numbers + _CHUNK_BYTES)


def lost_rows(index: Rows, record: VersionRecord) -> str | None:
    """Which collection has not as many rows as the record says; None if all have.

    Raises: IndexBusy, IndexUnavailable.
    """
    for collection in _collections(record):
        count = index.count(collection.name)
        if count != record.num_chunks:
            return _counted(collection.name, count, record)
    return None


def _counted(collection: str, count: int, record: VersionRecord) -> str:
    return f"{collection} has {count} rows, its version {record.num_chunks} chunks"


def _not_complete(found: str) -> VerifyFailed:
    return VerifyFailed(found, "a row of each chunk", "run `mrag audit`")


def _collections(record: VersionRecord) -> list[CollectionSpec]:
    card = record.encoder
    heads = [CollectionSpec(name, "head", card.head_dim) for name in record.head_collections()]
    return [*heads, CollectionSpec(record.chunks_collection(), "chunks", card.standard_dim)]
