"""An encoder and an index that do once what several strategies need of one query.

Several strategies embed the same query and search the same collections; with these, each text is
embedded once and each vector searched once. `forget` between queries keeps memory bounded.
Shape legend: N texts, W queries, D dimension, c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Role
from mrag_pipeline.ports import (
    AnySearchRequest,
    ChunkRow,
    Encoder,
    IndexCapabilities,
    QueryIndex,
    Ranking,
    TextSearchRequest,
)

_Key = tuple[str, bytes, bytes]  # collection, query, among
_Hits = tuple[NDArray[np.int64], NDArray[np.float32]]  # (c,) ids and scores


class SharedEncoder:
    """Embeds a text only once until `forget` is called."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[tuple[str, Role], tuple[NDArray[np.float32], ...]] = {}
        self._tokens: dict[tuple[str, Role], int] = {}

    @property
    def card(self) -> EncoderCard:
        """What the model is."""
        return self._encoder.card

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        """Head and standard embeddings, in the order of the texts."""
        new = [text for text in dict.fromkeys(texts) if (text, role) not in self._known]
        if new or not texts:
            embeddings = self._encoder.encode(new, role)
            if not texts:
                return embeddings
            for row, text in enumerate(new):
                self._known[text, role] = (embeddings.heads[row], embeddings.standard[row])
                self._tokens[text, role] = int(embeddings.num_tokens[row])
        vectors = [self._known[text, role] for text in texts]
        return Embeddings(
            np.stack([heads for heads, _ in vectors]),
            np.stack([standard for _, standard in vectors]),
            np.array([self._tokens[text, role] for text in texts], np.int64),
        )

    def forget(self) -> None:
        """Drops everything that was kept."""
        self._known.clear()
        self._tokens.clear()


class SharedIndex:
    """Runs a search or a look-up only once until `forget` is called."""

    def __init__(self, index: QueryIndex) -> None:
        self._index = index
        self._hits: dict[_Key, _Hits] = {}
        self._rows: dict[tuple[str, int], ChunkRow | None] = {}

    def capabilities(self) -> IndexCapabilities:
        """What the store can do."""
        return self._index.capabilities()

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests; a longer one known before serves too."""
        missing: list[tuple[AnySearchRequest, list[_Key]]] = []
        for request in requests:
            keys = _keys(request)
            rows = [row for row, key in enumerate(keys) if not self._has(key, request.limit)]
            if rows:
                wanted = request.rows(np.array(rows, np.intp))
                missing.append((wanted, [keys[row] for row in rows]))
        rankings = self._index.search([request for request, _ in missing])
        for (_, keys), ranking in zip(missing, rankings, strict=True):
            for key, ids, scores in zip(keys, ranking.ids, ranking.scores, strict=True):
                self._hits[key] = (ids, scores)
        return [self._ranking(request) for request in requests]

    def search_within(
        self, requests: Sequence[AnySearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """Never shared: a search that was late may be in time the next time."""
        return self._index.search_within(requests, seconds)

    def matching(
        self,
        collection: str,
        wanted: Filter,
        ids: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> NDArray[np.int64]:
        """Never shared: no evaluation filters."""
        return self._index.matching(collection, wanted, ids, limit)

    def look_up(
        self,
        collection: str,
        ids: Sequence[int],
        likely: Sequence[int],  # noqa: ARG002  # all rows are known
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """The document of each row that exists, and all these rows."""
        rows = self.chunks(collection, ids)
        return {chunk_id: row.document_id for chunk_id, row in rows.items()}, rows

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """The rows that exist, by id."""
        new = [
            chunk_id for chunk_id in dict.fromkeys(ids) if (collection, chunk_id) not in self._rows
        ]
        if new:
            read = self._index.chunks(collection, new)
            self._rows.update({(collection, chunk_id): read.get(chunk_id) for chunk_id in new})
        rows = {chunk_id: self._rows[collection, chunk_id] for chunk_id in ids}
        return {chunk_id: row for chunk_id, row in rows.items() if row is not None}

    def forget(self) -> None:
        """Drops everything that was kept."""
        self._hits.clear()
        self._rows.clear()

    def _has(self, key: _Key, limit: int) -> bool:
        known = self._hits.get(key)
        return known is not None and len(known[0]) >= limit

    def _ranking(self, request: AnySearchRequest) -> Ranking:
        hits = [self._hits[key] for key in _keys(request)]
        shape = (len(hits), request.limit)
        ids = np.array([ids[: request.limit] for ids, _ in hits], np.int64).reshape(shape)
        scores = np.array([scores[: request.limit] for _, scores in hits], np.float32)
        return Ranking(ids, scores.reshape(shape))


def _keys(request: AnySearchRequest) -> list[_Key]:
    """What each query of the request is known by."""
    among = b"all" if request.among is None else request.among.tobytes()
    queries: Sequence[bytes]
    if isinstance(request, TextSearchRequest):
        queries = [text.encode() for text in request.texts]
    else:
        queries = [vector.tobytes() for vector in request.vectors]
    return [(request.collection, query, among) for query in queries]
