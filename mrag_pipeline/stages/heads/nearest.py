"""The nearest documents of sampled chunks, voter by voter, as the index's own searches find them.

Shape legend: S sampled chunks, k neighbours of a chunk, D dimension.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.neighbours import Neighbours
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.vote_spec import LEXICAL, STANDARD
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.ports import (
    AnySearchRequest,
    ChunkRow,
    Progress,
    ReadableVersion,
    Searches,
    SearchRequest,
    TextSearchRequest,
)
from mrag_pipeline.ports.index.rows import Rows
from mrag_pipeline.query.voters import pieces

_ROWS = 64  # of one search: its scores are as many numbers for each row of an embedded store
_TEXTS = 8  # the same by words: whole passages are long queries, and a search has a time limit
_READS = 2_048  # chunks looked up or read at a time


class StudiedIndex(ReadableVersion, Searches, Protocol):
    """Whole versions that can be read and searched."""


class DocumentNumbers:
    """A number for each document, and the document of each chunk that was seen."""

    def __init__(
        self, index: ReadableVersion, collection: str, numbers: dict[str, int] | None = None
    ) -> None:
        """No chunk seen yet.

        Args:
            numbers: shared with another version, so that the same id has the same number.
        """
        self._index = index
        self._collection = collection
        self.numbers: dict[str, int] = {} if numbers is None else numbers  # by document id
        self._of_chunk: dict[int, int] = {}  # -1: no chunks row

    def of(self, chunk_ids: Iterable[int]) -> dict[int, int]:
        """Each chunk's document number; -1 for a chunk without a chunks row."""
        wanted = set(chunk_ids)
        new = sorted(wanted - self._of_chunk.keys())
        for start in range(0, len(new), _READS):
            block = new[start : start + _READS]
            documents, _ = self._index.look_up(self._collection, block, ())
            for chunk_id in block:
                name = documents.get(chunk_id)
                number = -1 if name is None else self.number(name)
                self._of_chunk[chunk_id] = number
        return {chunk_id: self._of_chunk[chunk_id] for chunk_id in wanted}

    def number(self, document_id: str) -> int:
        """The document's number, a new one if it was not seen before."""
        return self.numbers.setdefault(document_id, len(self.numbers))

    def names(self) -> list[str]:
        """Document ids by number."""
        return list(self.numbers)


class NearestDocuments:
    """Searches the neighbours of one version's sampled chunks."""

    def __init__(
        self,
        index: StudiedIndex,
        record: VersionRecord,
        sample: Sequence[ChunkRow],
        k: int,
        progress: Progress,
        numbers: dict[str, int] | None = None,
    ) -> None:
        """Ready; the caller starts the progress's phase, with S for each search.

        Args:
            numbers: of documents, shared with another version's.
        """
        self._index = index
        self._record = record
        self._sample = sample
        self._k = k
        self._progress = progress
        self.documents = DocumentNumbers(index, record.chunks_collection(), numbers)
        self._searching_s = 0.0  # in the index, over all searches
        own = [self.documents.number(row.document_id) for row in sample]
        self._own = np.array(own, np.int64)  # (S,)

    def of_heads(
        self, vectors: Sequence[NDArray[np.float32]]
    ) -> tuple[list[Neighbours], list[float]]:
        """Each head's neighbours, and its milliseconds for a query.

        Args:
            vectors: (S, D) of each head.
        """
        found, took_ms = [], []
        for collection, own in zip(self._record.head_collections(), vectors, strict=True):
            before_s = self._searching_s
            found.append(self._search(SearchRequest(collection, own, self._first_depth())))
            took_ms.append(1000.0 * (self._searching_s - before_s) / max(1, len(own)))
        return found, took_ms

    def of_pieces(
        self, standard: NDArray[np.float32], num_pieces: int
    ) -> tuple[tuple[str, ...], list[Neighbours]]:
        """The names and neighbours of the standard vector's pieces, ranked as `split` does."""
        names, cut = pieces(standard, num_pieces)
        collection, depth = self._record.chunks_collection(), self._first_depth()
        return names, [self._search(SearchRequest(collection, own, depth)) for own in cut]

    def of_others(self, standard: NDArray[np.float32]) -> tuple[tuple[str, ...], list[Neighbours]]:
        """The neighbours by the standard vector, and by BM25 if the version has words."""
        depth = self._first_depth()
        collection = self._record.chunks_collection()
        names = [STANDARD]
        requests: list[AnySearchRequest] = [SearchRequest(collection, standard, depth)]
        lexical = self._record.lexical_collection()
        if lexical is not None and self._record.lexical is not None:
            texts = tuple(f"{row.title}\n{row.text}" for row in self._sample)
            names.append(LEXICAL)
            requests.append(TextSearchRequest(lexical, texts, depth, self._record.lexical))
        return tuple(names), [self._search(request) for request in requests]

    def _first_depth(self) -> int:
        # A document's other chunks, and its own, take places too.
        return min(2 * self._k + 8, self._deepest())

    def _deepest(self) -> int:
        return max(1, min(self._record.num_chunks, self._index.capabilities().max_hits))

    def _search(self, request: AnySearchRequest) -> Neighbours:
        shape = (request.num_queries, self._k)
        found = Neighbours(np.full(shape, -1, np.int64), np.full(shape, -1, np.int64))
        step = _TEXTS if isinstance(request, TextSearchRequest) else _ROWS
        for start in range(0, request.num_queries, step):
            rows = np.arange(start, min(start + step, request.num_queries))
            self._fill(found, request, rows)
            self._progress.advance(len(rows))
        return found

    def _fill(self, found: Neighbours, request: AnySearchRequest, rows: NDArray[np.intp]) -> None:
        """Searches deeper and deeper until every row has k documents or the store has no more."""
        depth = request.limit
        while len(rows):
            started = time.perf_counter()
            [ranking] = self._index.search([replace(request.rows(rows), limit=depth)])
            self._searching_s += time.perf_counter() - started
            documents = self.documents.of(ranking.ids[ranking.ids >= 0].tolist())
            short = []
            for row, ids in zip(rows.tolist(), ranking.ids, strict=True):
                nearest: dict[int, int] = {}
                for chunk_id in ids[ids >= 0].tolist():
                    number = documents[chunk_id]
                    if number >= 0 and number != self._own[row]:
                        nearest.setdefault(number, chunk_id)
                best = list(nearest.items())[: self._k]
                for place, (number, chunk_id) in enumerate(best):
                    found.documents[row, place] = number
                    found.chunks[row, place] = chunk_id
                if len(best) < self._k and (ids >= 0).all():
                    short.append(row)
            if depth >= self._deepest():
                return
            rows, depth = np.array(short, np.intp), min(4 * depth, self._deepest())


def stored_vectors(index: Rows, collection: str, chunk_ids: Sequence[int]) -> NDArray[np.float32]:
    """The stored vectors of these chunks, in order: (S, D).

    Raises: VerifyFailed if one is missing.
    """
    by_id = index.vectors(collection, chunk_ids)
    missing = [chunk_id for chunk_id in chunk_ids if chunk_id not in by_id]
    if missing:
        raise VerifyFailed(
            f"{collection} lacks {len(missing):,} of {len(chunk_ids):,} sampled chunks",
            "every chunk in every collection of the version",
            "run `mrag audit`, then `mrag repair`",
        )
    return np.array([by_id[chunk_id] for chunk_id in chunk_ids], np.float32)


def read_rows(
    index: ReadableVersion, collection: str, chunk_ids: Sequence[int]
) -> Iterable[ChunkRow]:
    """The chunks rows that exist, in blocks, so that few texts are in memory at once."""
    for start in range(0, len(chunk_ids), _READS):
        yield from index.chunks(collection, chunk_ids[start : start + _READS]).values()
