"""Finds documents by any strategy, sharing the work that strategies have in common.

Shape legend: V voters, W windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from mrag_pipeline.domain.evaluation import Example, WindowVote
from mrag_pipeline.domain.labelled_queries import LabelledQuery
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import Encoder, QueryIndex, Segmenter
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.rerank import Reranking
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.rerank import RerankSpec
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.stages.evaluate.rerank_meter import RerankMeter, SharedReranker
from mrag_pipeline.stages.evaluate.shared_work import SharedEncoder, SharedIndex

RERANK_S = 120.0  # for one query: nobody waits for it


class Finder(Protocol):
    """Searches one index version by any of several strategies."""

    def find(
        self, query: LabelledQuery, strategy: str, k: int, *, rerank: bool = False
    ) -> Sequence[str]:
        """At least k documents, or as many as there are, best first; perhaps reranked."""

    def example(self, query: LabelledQuery, strategy: str, k: int) -> Example:
        """Which windows and voters chose what the query found."""

    def forget(self) -> None:
        """Drops what is kept of the last query; call it between queries."""


class SharingFinder:
    """Uses the product's retriever; does once what several strategies need of one query."""

    def __init__(
        self,
        encoder: Encoder,
        segmenter: Segmenter,
        index: QueryIndex,
        record: VersionRecord,
        spec: RetrieveSpec | None = None,
        meter: RerankMeter | None = None,
        rerank: RerankSpec | None = None,
    ) -> None:
        """Ready to search.

        Args:
            meter, rerank: the reranker and its settings, if there is one.
        """
        self._encoder = SharedEncoder(encoder)
        self._index = SharedIndex(index)
        self._meter = meter
        self._reranker = None if meter is None else SharedReranker(meter)
        reranking = None
        if self._reranker is not None:
            # An answer in the vote's order would be counted as a reranked one.
            failing = replace(rerank or RerankSpec(), on_error="fail", timeout_s=RERANK_S)
            reranking = Reranking(self._reranker, failing, spec)
        self._retriever = Retriever(self._encoder, segmenter, self._index, record, spec, reranking)

    def find(
        self, query: LabelledQuery, strategy: str, k: int, *, rerank: bool = False
    ) -> Sequence[str]:
        """The documents that the retriever returns; counts the pairs that are scored for them."""
        if not rerank or self._meter is None or self._reranker is None:
            return self._retrieve(query, strategy, k).documents()
        before = self._reranker.num_pairs
        found = self._retrieve(query, strategy, k, rerank=True).documents()
        self._meter.count(strategy, self._reranker.num_pairs - before)
        return found

    def example(self, query: LabelledQuery, strategy: str, k: int) -> Example:
        """The votes for the documents found, as shares of all of them."""
        answer = self._retrieve(query, strategy, k)
        votes = np.sum([document.hit.parts for document in answer.found], axis=0)  # (V, W)
        shares = votes / votes.sum()
        return Example(
            query.text,
            strategy,
            answer.voters,
            tuple(
                WindowVote(window.text, tuple(shares[:, number].tolist()))
                for number, window in enumerate(answer.windows)
            ),
            tuple(answer.documents()),
        )

    def forget(self) -> None:
        """Drops what is kept of the last query."""
        self._encoder.forget()
        self._index.forget()
        if self._reranker is not None:
            self._reranker.forget()

    def _retrieve(
        self, query: LabelledQuery, strategy: str, k: int, rerank: bool = False
    ) -> Answer:
        return self._retriever.retrieve(
            query.text, k, strategy, query.sub_queries, rerank=rerank, scores=False
        )
