"""A version's vectors in this process's memory, searched here instead of in the index.

With the ids of the chunks' documents, so that an answer needs no call but that for its texts.

A call to a server costs it some 3 ms before it compares a number, and a question makes 13 of them;
the numbers of a small version are one product of matrices. The rankings are those of exact search:
equal scores, by the smaller id. What is not a vector is asked of the index as before.
Shape legend: N rows in B blocks of b, D dimension, W queries, c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.domain.version import VersionRecord
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

_BLOCK_NUMBERS = 2**20  # scores computed at a time: 4 MB stay in the cores' caches
# Rows in a block: small products are made without copying their factors first, in a third of the
# time for a few queries.
_ROWS = 128
_GROUP = 16  # rows whose greatest score stands for them when the last place is looked for
_DECIMALS = 6  # of a score: below them speaks the order of additions


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The rows of one collection."""

    ids: NDArray[np.int64]  # (N,), rising
    # (B, D, b), the last block filled up with zeros; of unit length.
    blocks: NDArray[np.float32]

    @classmethod
    def of(cls, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> _Rows:
        """Those rows: (N,) ids, rising, and (N, D) vectors of unit length."""
        num_blocks = -(-len(ids) // _ROWS)
        blocks = np.zeros((num_blocks, vectors.shape[1], _ROWS), np.float32)
        for number in range(num_blocks):
            block = vectors[number * _ROWS : (number + 1) * _ROWS]
            blocks[number, :, : len(block)] = block.T
        return cls(ids, blocks)

    def among(self, ids: NDArray[np.int64]) -> _Rows:
        """Those of these ids."""
        wanted = np.unique(ids)
        places = np.searchsorted(self.ids, wanted)
        places = places[places < len(self.ids)]
        wanted = wanted[: len(places)]
        places = places[self.ids[places] == wanted]
        return _Rows.of(self.ids[places], self.blocks[places // _ROWS, :, places % _ROWS])

    def scores(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """(W, N) cosines."""
        num_blocks = len(self.blocks)
        scores = np.empty((len(unit), num_blocks, _ROWS), np.float32)
        np.matmul(unit, self.blocks, out=scores.transpose(1, 0, 2))
        return scores.reshape(len(unit), num_blocks * _ROWS)[:, : len(self.ids)]

    def search(self, queries: NDArray[np.float32], limit: int) -> Ranking:
        """The (W, c) rows with the highest cosine similarity to each query."""
        ranking = Ranking.nothing(len(queries), limit)
        unit = _unit(queries)
        step = max(8, _BLOCK_NUMBERS // max(1, len(self.ids)))
        for start in range(0, len(unit), step):
            scores = self.scores(unit[start : start + step])
            for row, (own, least) in enumerate(zip(scores, _least(scores, limit), strict=True)):
                places = np.flatnonzero(own >= least)
                rounded = own[places].round(_DECIMALS)
                # Stable: places rise with the ids.
                order = np.argsort(-rounded, kind="stable")[:limit]
                ranking.ids[start + row, : len(order)] = self.ids[places[order]]
                ranking.scores[start + row, : len(order)] = rounded[order]
        return ranking


class HeldVectors:
    """The vectors of a version's collections; never changes. Threads may share it."""

    def __init__(
        self, rows: Mapping[str, _Rows], chunks_collection: str, documents: Mapping[int, str]
    ) -> None:
        """Both by collection or chunk id."""
        self._rows = rows
        self._chunks_collection = chunks_collection
        self._documents = documents

    @classmethod
    def read(cls, index: Rows, record: VersionRecord) -> HeldVectors:
        """Reads every vector of the version, and every chunk's document.

        Raises: IndexBusy, IndexUnavailable.
        """
        chunks = record.chunks_collection()
        documents = {mark.id: mark.document_id for marks in index.marks(chunks) for mark in marks}
        rows = {collection.name: _read(index, collection) for collection in _collections(record)}
        return cls(rows, chunks, documents)

    def __contains__(self, collection: object) -> bool:
        return collection in self._rows

    def search(self, request: SearchRequest) -> Ranking:
        """The ranking of a collection that is held."""
        rows = self._rows[request.collection]
        if request.among is not None:
            rows = rows.among(request.among)
        return rows.search(request.vectors, request.limit)

    def documents(self, collection: str, ids: Sequence[int]) -> dict[int, str] | None:
        """The document of each chunk that exists; None for another collection."""
        if collection != self._chunks_collection:
            return None
        known = self._documents
        return {chunk_id: known[chunk_id] for chunk_id in ids if chunk_id in known}

    def is_complete(self, index: Rows) -> bool:
        """Whether the collections still have as many rows as were read.

        Raises: IndexBusy, IndexUnavailable.
        """
        return all(index.count(name) == len(rows.ids) for name, rows in self._rows.items())


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
        asked = [request for request in requests if not self._is_held(request)]
        answers = iter(self._index.search(asked) if asked else ())
        return [self._here(request) or next(answers) for request in requests]

    def search_within(
        self, requests: Sequence[AnySearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """As `search`; what is held is always answered."""
        asked = [request for request in requests if not self._is_held(request)]
        answers = iter(self._index.search_within(asked, seconds) if asked else ())
        return [self._here(request) or next(answers) for request in requests]

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

    def _is_held(self, request: AnySearchRequest) -> bool:
        return isinstance(request, SearchRequest) and request.collection in self._held

    def _here(self, request: AnySearchRequest) -> Ranking | None:
        if isinstance(request, SearchRequest) and request.collection in self._held:
            return self._held.search(request)
        return None


def held_bytes(record: VersionRecord) -> int:
    """What the vectors of a version take in memory."""
    card = record.encoder
    return 4 * record.num_chunks * (len(card.heads) * card.head_dim + card.standard_dim)


def _collections(record: VersionRecord) -> Iterable[CollectionSpec]:
    card = record.encoder
    for name in record.head_collections():
        yield CollectionSpec(name, "head", card.head_dim)
    yield CollectionSpec(record.chunks_collection(), "chunks", card.standard_dim)


def _read(index: Rows, collection: CollectionSpec) -> _Rows:
    blocks = list(index.vector_blocks(collection))
    ids = np.concatenate([np.zeros(0, np.int64), *(block_ids for block_ids, _ in blocks)])
    vectors = np.concatenate(
        [np.zeros((0, collection.dim), np.float32), *(block for _, block in blocks)]
    )
    order = np.argsort(ids)
    return _Rows.of(ids[order], _unit(vectors[order]))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths = np.where(norms == 0, 1, norms).astype(np.float32)
    unit: NDArray[np.float32] = (vectors / lengths).astype(np.float32, copy=False)
    return unit


def _least(scores: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    """(W,): no score of the best c is lower. Of (W, N).

    The c-th greatest of the groups' greatest: c groups have a score that is as great.
    """
    num_rows = scores.shape[1]
    num_groups = num_rows // _GROUP
    if num_groups < limit:
        return np.full(len(scores), -np.inf, np.float32)
    groups = scores[:, : num_groups * _GROUP].reshape(len(scores), _GROUP, num_groups).max(axis=1)
    least: NDArray[np.float32] = np.partition(groups, num_groups - limit, axis=1)[:, -limit]
    return least - np.float32(10.0**-_DECIMALS)  # what rounds to the same score ties with it
