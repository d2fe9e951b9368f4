"""A query's way through one index version: windows, one batch of embeddings, rankings, hits.

Bound to one version: nothing of another is read, whatever becomes live meanwhile.
Shape legend: V voters, W windows, H heads, D head dimension, E standard width, c hits per
ranking.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain import strategies
from mrag_pipeline.domain.heads import Embeddings
from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.voting import Ballots, Hit, elect, fuse, shortlist, weights_of
from mrag_pipeline.domain.windows import Window, WindowSpec, distinct, whole, windows_of
from mrag_pipeline.errors import ConfigError, FingerprintMismatch
from mrag_pipeline.ports import ChunkRow, Encoder, Ranking, SearchRequest, Segmenter

STANDARD = "standard"  # the voter that is no head


@dataclass(frozen=True, slots=True)
class RetrieveSpec:
    """How deep a query looks. Twice of any depth moved figures by less than 0.003 (measured)."""

    windows: WindowSpec = field(default_factory=WindowSpec)
    hits_per_voter: int = 64  # over all windows; a vote of rank 8 is 1/256 of the first's
    min_hits_per_ranking: int = 8
    shortlist: int = 512  # chunks whose rows are fetched before documents are ranked
    fused_documents: int = 5  # of each sub-query, before any of a deeper rank


class Searched(Protocol):
    """What is needed of a VectorIndex."""

    def search(self, requests: Sequence[SearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests."""

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """The rows that exist, by id."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A document that answers the query, by its best passage."""

    hit: Hit
    row: ChunkRow  # of hit.chunk_ids[0]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a query found, and why: `found[i].hit.parts` is (V, W), as `voters` and `windows`."""

    strategy: str
    version: str
    windows: tuple[Window, ...]
    voters: tuple[str, ...]
    found: tuple[Found, ...]
    num_searches: int  # rankings asked for: V x W
    seconds: Mapping[str, float]  # by phase

    def documents(self) -> list[str]:
        """Document ids, best first, each once."""
        return [one.hit.document_id for one in self.found]


class Retriever:
    """Asks one index version by any strategy."""

    def __init__(
        self,
        encoder: Encoder,
        segmenter: Segmenter,
        index: Searched,
        record: VersionRecord,
        spec: RetrieveSpec | None = None,
    ) -> None:
        """Ready to be asked.

        Raises: FingerprintMismatch if the encoder did not build the version.
        """
        if encoder.card.identity() != record.encoder.identity():
            raise FingerprintMismatch(
                f"the encoder {encoder.card.spec.model} did not build {record.version}",
                f"{record.encoder.spec.model} with weights {record.encoder.weights_hash[:12]}",
                "use the encoder of the version, or build a new version with `mrag ingest`",
            )
        self._encoder = encoder
        self._segmenter = segmenter
        self._index = index
        self._record = record
        self._spec = spec or RetrieveSpec()

    @property
    def record(self) -> VersionRecord:
        """The version that is asked."""
        return self._record

    def retrieve(
        self,
        query: str,
        k: int = 10,
        strategy: str = strategies.DEFAULT,
        sub_queries: Sequence[str] = (),
    ) -> Answer:
        """The k documents that answer the query best, or as many as were found.

        Args:
            sub_queries: for the fusion strategies, which cannot do without.
        Raises: ConfigError for a query without text, k below 1, no such strategy or missing
            sub-queries; IndexBusy, IndexUnavailable.
        """
        chosen = strategies.strategy(strategy)
        _check(query, k, chosen, sub_queries)
        clock = _Clock()
        windows, embeddings = self._windows(query, chosen, sub_queries, clock)
        voters, requests, weights = self._requests(chosen, embeddings, k)
        rankings = self._index.search(requests)
        clock.stop("search")
        ballots = Ballots(
            np.stack([ranking.ids for ranking in rankings]),
            np.stack([ranking.scores for ranking in rankings]),
            weights,
        )
        listed = shortlist(ballots, chosen.vote, max(self._spec.shortlist, 4 * k))
        rows = self._index.chunks(self._record.chunks_collection(), listed)
        clock.stop("fetch")
        hits = self._elect(ballots, rows, chosen, k, gone=set(listed) - rows.keys())
        clock.stop("vote")
        return Answer(
            chosen.name,
            self._record.version,
            tuple(windows),
            voters,
            tuple(Found(hit, rows[hit.chunk_ids[0]]) for hit in hits),
            len(requests) * len(windows),
            clock.seconds,
        )

    def _windows(
        self, query: str, chosen: Strategy, sub_queries: Sequence[str], clock: _Clock
    ) -> tuple[list[Window], Embeddings]:
        """The windows to search and their embeddings, from one batch."""
        if chosen.windows == "aspects":
            windows = windows_of(query, self._segmenter.sentences(query), self._spec.windows)
        elif chosen.windows == "sub-queries":
            asked = [text for text in sub_queries if text.strip()]
            windows = [Window(text, 0, len(query), "sub-query") for text in asked]
        else:
            windows = [whole(query)]
        clock.stop("windows")
        embeddings = self._encoder.encode([window.text for window in windows], "query")
        if chosen.windows == "aspects" and len(windows) > 1:
            kept = distinct(embeddings.standard, self._spec.windows)
            windows = [windows[row] for row in kept.tolist()]
            embeddings = Embeddings(
                embeddings.heads[kept], embeddings.standard[kept], embeddings.num_tokens[kept]
            )
        clock.stop("encode")
        return windows, embeddings

    def _requests(
        self, chosen: Strategy, embeddings: Embeddings, k: int
    ) -> tuple[tuple[str, ...], list[SearchRequest], NDArray[np.float64]]:
        """Voters' names, what is searched for each, and what each counts."""
        record = self._record
        texts = record.chunks_collection()
        num_heads = len(record.encoder.heads)
        # Deep enough for k documents of several passages each; that only adds small votes.
        spread = max(self._spec.hits_per_voter, 4 * k) / len(embeddings)
        limit = max(self._spec.min_hits_per_ranking, math.ceil(spread))
        if chosen.voters == "standard":
            requests = [SearchRequest(texts, embeddings.standard, limit)]
            return (STANDARD,), requests, np.ones(1)
        if chosen.voters == "pieces":
            names, pieces = _pieces(embeddings.standard, num_heads)
            requests = [SearchRequest(texts, piece, limit) for piece in pieces]
            return names, requests, np.ones(len(pieces))
        names = tuple(str(head) for head in record.encoder.heads)
        requests = [
            SearchRequest(name, np.ascontiguousarray(embeddings.heads[:, at]), limit)
            for at, name in enumerate(record.head_collections())
        ]
        importance = record.importance() if chosen.weighted else np.ones(num_heads)
        weights = weights_of(importance, chosen.vote.standard_weight)
        if len(weights) > num_heads:
            names = (*names, STANDARD)
            requests.append(SearchRequest(texts, embeddings.standard, limit))
        return names, requests, weights

    def _elect(
        self,
        ballots: Ballots,
        rows: Mapping[int, ChunkRow],
        chosen: Strategy,
        k: int,
        gone: set[int],
    ) -> list[Hit]:
        documents = {chunk: row.document_id for chunk, row in rows.items()}
        if not chosen.is_fused:
            return elect(ballots, documents, chosen.vote, k, gone)
        num_windows = ballots.ids.shape[1]
        alone = []
        for window in range(num_windows):
            at = slice(window, window + 1)
            one = Ballots(ballots.ids[:, at], ballots.scores[:, at], ballots.weights)
            alone.append(elect(one, documents, chosen.vote, k, gone))
        return _fused(alone, len(ballots.weights), self._spec.fused_documents)[:k]


def _check(query: str, k: int, chosen: Strategy, sub_queries: Sequence[str]) -> None:
    if not query.strip():
        raise ConfigError("a query without text", "some words to look for")
    if k < 1:
        raise ConfigError(f"k = {k}", "at least 1 document to fetch")
    if chosen.windows == "sub-queries" and not any(text.strip() for text in sub_queries):
        raise ConfigError(
            f"the strategy {chosen.name} without sub-queries",
            "the query put in several ways, as an LLM would",
            "give them with the query, or use `aspect`: it needs none",
        )


def _pieces(
    standard: NDArray[np.float32], num_pieces: int
) -> tuple[tuple[str, ...], list[NDArray[np.float32]]]:
    """The standard vectors with all but one piece set to zero, once for each piece.

    So the one collection of whole vectors ranks by each piece's inner product.
    """
    edges = np.linspace(0, standard.shape[1], num_pieces + 1).astype(int)
    pieces = []
    for start, end in itertools.pairwise(edges.tolist()):
        piece = np.zeros_like(standard)
        piece[:, start:end] = standard[:, start:end]
        pieces.append(piece)
    return tuple(f"piece_{at:02d}" for at in range(num_pieces)), pieces


def _fused(alone: Sequence[Sequence[Hit]], num_voters: int, depth: int) -> list[Hit]:
    """One list of hits from each window's own, by reciprocal rank fusion."""
    by_document: list[dict[str, Hit]] = [{hit.document_id: hit for hit in hits} for hits in alone]
    fused = []
    for document, vote in fuse([list(hits) for hits in by_document], depth):
        parts = np.zeros((num_voters, len(alone)))
        chunk_ids: dict[int, None] = {}
        for window, hits in enumerate(by_document):
            if document in hits:
                parts[:, window] = hits[document].parts[:, 0]
                chunk_ids.update(dict.fromkeys(hits[document].chunk_ids))
        fused.append(Hit(document, tuple(chunk_ids), vote, vote, parts))
    return fused


class _Clock:
    """Seconds since the last stop, by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stop(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now
