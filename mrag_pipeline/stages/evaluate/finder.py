"""Finds documents by any strategy, sharing the work that strategies have in common.

Shape legend: V voters, W windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mrag_pipeline.domain.evaluation import Example, WindowVote
from mrag_pipeline.domain.labelled_queries import LabelledQuery
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import Encoder, QueryIndex, Segmenter
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.retrieve import RetrieveSpec
from mrag_pipeline.stages.evaluate.shared_work import SharedEncoder, SharedIndex


class Finder(Protocol):
    """Searches one index version by any of several strategies."""

    def find(self, query: LabelledQuery, strategy: str, k: int) -> Sequence[str]:
        """At least k documents, or as many as there are, best first."""

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
    ) -> None:
        self._encoder = SharedEncoder(encoder)
        self._index = SharedIndex(index)
        self._retriever = Retriever(self._encoder, segmenter, self._index, record, spec)

    def find(self, query: LabelledQuery, strategy: str, k: int) -> Sequence[str]:
        """The documents that the retriever returns."""
        return self._retrieve(query, strategy, k).documents()

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

    def _retrieve(self, query: LabelledQuery, strategy: str, k: int) -> Answer:
        return self._retriever.retrieve(query.text, k, strategy, query.sub_queries)
