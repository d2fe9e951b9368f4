"""Runs the queries of a labelled set once and records every ranking, for `heads.py`.

Shape legend: W windows, c hits per ranking, H heads, Q queries.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.corpus.labelled.data_set import open_data_set
from mrag_pipeline.domain.chunking import chunks_of, embedded_text
from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Role
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.domain.strategies import STRATEGIES
from mrag_pipeline.domain.success import success
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.vote_spec import VoteSpec
from mrag_pipeline.domain.voting import WeightedRankings, candidate_chunks, choose_documents
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import AnySearchRequest, CollectionSpec, Encoder, Ranking, SearchRequest
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.staging.tables import chunk_table, head_table

VOTE = STRATEGIES["aspect"].vote
Floats = NDArray[np.float64]
Weigh = Callable[[int], Floats]  # a query's number to its heads' weights (H,)


class KeptEncoder:
    """Embeds each text only once, over all runs that use the same file."""

    def __init__(self, encoder: Encoder, path: Path | None) -> None:
        self._encoder = encoder
        self._path = path
        self._rows: dict[str, int] = {}
        card = encoder.card
        self._heads = np.zeros((0, len(card.heads), card.head_dim), np.float32)
        self._standard = np.zeros((0, card.standard_dim), np.float32)
        if path is not None and path.is_file():
            with np.load(path) as held:
                if str(held["encoder"]) != card.weights_hash:
                    sys.exit(f"{path} holds vectors of another encoder; name another file")
                self._rows = {key.tobytes().hex(): row for row, key in enumerate(held["keys"])}
                self._heads, self._standard = held["heads"], held["standard"]

    @property
    def card(self) -> EncoderCard:
        """What the model is."""
        return self._encoder.card

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        """Head and standard embeddings, in the order of the texts."""
        keys = [hashlib.md5(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
        new = {k: text for k, text in zip(keys, texts, strict=True) if k not in self._rows}
        if new:
            made = self._encoder.encode(list(new.values()), role)
            self._rows.update({key: len(self._heads) + offset for offset, key in enumerate(new)})
            self._heads = np.concatenate([self._heads, made.heads])
            self._standard = np.concatenate([self._standard, made.standard])
        rows = [self._rows[key] for key in keys]
        return Embeddings(self._heads[rows], self._standard[rows], np.zeros(len(rows), np.int64))

    def save(self) -> None:
        """Writes the embeddings to the file, if one was named."""
        if self._path is not None:
            keys = np.array([np.void(bytes.fromhex(key)) for key in self._rows])
            np.savez(
                self._path,
                keys=keys,
                heads=self._heads,
                standard=self._standard,
                encoder=self.card.weights_hash,
            )


class ListeningIndex(ExactIndex):
    """Exact search that keeps the last requests that voted, and their rankings."""

    last_requests: Sequence[SearchRequest] = ()
    last_rankings: Sequence[Ranking] = ()

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests."""
        rankings = super().search(requests)
        if any(request.among is None for request in requests):  # not those that score hits by id
            self.last_requests = [each for each in requests if isinstance(each, SearchRequest)]
            self.last_rankings = rankings
        return rankings


@dataclass(frozen=True, slots=True, eq=False)
class QueryRankings:
    """All rankings of one query: those of the heads and of the standard vector."""

    ids: NDArray[np.int64]  # (H + 1, W, c)
    scores: NDArray[np.float32]  # (H + 1, W, c)
    norms: Floats  # (W, H), of the windows' head embeddings


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A labelled set with the rankings of its queries."""

    labelled: LabelledSet
    queries: list[QueryRankings]
    documents: dict[int, str]
    sums: ImportanceSums
    groups: NDArray[np.int64]  # (Q,)

    def ratios(self, weigh: Weigh, vote: VoteSpec = VOTE) -> Floats:
        """(Q,) success ratios with those head weights.

        A head of weight 0 does not vote.
        """
        ratios = np.empty(len(self.queries))
        for number, (query, rankings) in enumerate(
            zip(self.labelled.queries, self.queries, strict=True)
        ):
            heads = weigh(number)
            weights = np.append(heads, vote.standard_weight * heads.sum())
            weights = weights if vote.standard_weight else heads
            if not heads.any():
                weights[-1] = 1.0
            votes = np.flatnonzero(weights)
            ballots = WeightedRankings(rankings.ids[votes], rankings.scores[votes], weights[votes])
            k = len(query.aspects)
            listed = candidate_chunks(ballots, vote, max(RetrieveSpec().depth.candidates, 4 * k))
            owners = {chunk: self.documents[chunk] for chunk in listed}
            hits = choose_documents(ballots, owners, vote, k)
            ratios[number] = success(query, [hit.document_id for hit in hits], self.labelled).ratio
        return ratios


def ask(name: str, config: Config, encoder: KeptEncoder, plain: Encoder) -> Measured:
    """Indexes the set's documents as the product does and runs its queries."""
    data = open_data_set(name)
    segmenter = wiring.segmenter(config, plain)  # type: ignore[arg-type]
    chunks = [
        chunk
        for document in data.documents
        for chunk in chunks_of(document, segmenter.passages(document.text), config.chunking)
    ]
    made = encoder.encode([embedded_text(chunk, config.chunking) for chunk in chunks], "document")
    encoder.save()
    sums = ImportanceSums.of(made.heads)
    record = VersionRecord(
        *("heads", "v0123456789ab", "", encoder.card, config.chunking, sums),
        *(len(data.documents), len(chunks), 0, "", name),
    )
    ids = np.array([chunk.id for chunk in chunks])
    index = ListeningIndex("heads")
    for head, collection in enumerate(record.head_collections()):
        table = head_table(ids, np.ascontiguousarray(made.heads[:, head]), "float32")
        index.load(CollectionSpec(collection, "head", encoder.card.head_dim), [table])
    texts = CollectionSpec(record.chunks_collection(), "chunks", encoder.card.standard_dim)
    index.load(texts, [chunk_table(chunks, made.standard)])
    retriever = Retriever(encoder, segmenter, index, record)
    queries = []
    for query in data.labelled.queries:
        retriever.retrieve(query.text, len(query.aspects), "aspect")
        norms = [np.linalg.norm(request.vectors, axis=1) for request in index.last_requests[:-1]]
        queries.append(
            QueryRankings(
                np.stack([ranking.ids for ranking in index.last_rankings]),
                np.stack([ranking.scores for ranking in index.last_rankings]),
                np.stack(norms, axis=1).astype(np.float64),
            )
        )
    encoder.save()
    print(f"{name}: {len(chunks):,} chunks, {len(queries)} queries", file=sys.stderr, flush=True)
    groups = np.array([query.num_named for query in data.labelled.queries])
    owners: dict[int, str] = {chunk.id: chunk.document_id for chunk in chunks}
    return Measured(data.labelled, queries, owners, sums, groups)
