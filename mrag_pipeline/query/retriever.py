"""A query's way through one index version: windows, one batch of embeddings, rankings, hits.

The first half (`QueryEmbedder`) needs the model, the second (`Searcher`) the index; they may run
in two places. `Retriever` is both in one process.
"""

from __future__ import annotations

from collections.abc import Sequence

from mrag_pipeline.domain import strategies
from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.domain.heads import EncoderCard
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import FingerprintMismatch
from mrag_pipeline.ports import Encoder, QueryIndex, Segmenter
from mrag_pipeline.query.embed import Query, QueryEmbedder
from mrag_pipeline.query.search import Answer as Answer
from mrag_pipeline.query.search import FoundDocument as FoundDocument
from mrag_pipeline.query.search import Question as Question
from mrag_pipeline.query.search import Searcher as Searcher
from mrag_pipeline.query.search import check_k
from mrag_pipeline.query.voters import STANDARD as STANDARD
from mrag_pipeline.settings.retrieve import RetrieveSpec as RetrieveSpec


class Retriever:
    """Asks one index version by any strategy, encoder and index in one process."""

    def __init__(
        self,
        encoder: Encoder,
        segmenter: Segmenter,
        index: QueryIndex,
        record: VersionRecord,
        spec: RetrieveSpec | None = None,
    ) -> None:
        """Ready to be asked.

        Raises: FingerprintMismatch if the encoder did not build the version.
        """
        check_encoder(encoder.card, record)
        self._embedder = QueryEmbedder(encoder, segmenter, spec)
        self._searcher = Searcher(index, record, spec)

    @property
    def record(self) -> VersionRecord:
        """The version that is asked."""
        return self._searcher.record

    def retrieve(
        self,
        query: str,
        k: int = 10,
        strategy: str = strategies.DEFAULT,
        sub_queries: Sequence[str] = (),
        *,
        windows: Sequence[str] = (),
        filter: Filter | None = None,  # noqa: A002 - its name in every other place
        min_heads: int | None = None,
        seconds: float | None = None,
    ) -> Answer:
        """The k documents that answer the query best, or as many as were found.

        Args:
            sub_queries: for the fusion strategies, which cannot do without.
            windows: for the aspect strategies, instead of ours.
            filter: only documents that match.
            min_heads, seconds: as in Question.
        Raises: ConfigError for a query without text, k below 1, no such strategy or missing
            sub-queries; HeadsMissing, IndexBusy, IndexUnavailable.
        """
        check_k(k)
        if strategies.strategy(strategy).windows == "sub-queries":
            windows = sub_queries
        asked = Query(query, strategy, tuple(windows))
        [embedded] = self._embedder.embed([asked])
        question = Question(asked, embedded, k, filter, min_heads, seconds)
        return self._searcher.search([question])[0]


def check_encoder(card: EncoderCard, record: VersionRecord) -> None:
    """Refuses an encoder whose vectors are not the version's.

    Raises: FingerprintMismatch.
    """
    if card.identity() != record.encoder.identity():
        raise FingerprintMismatch(
            f"the encoder {card.spec.model} did not build {record.version}",
            f"{record.encoder.spec.model} with weights {record.encoder.weights_hash[:12]}",
            "use the encoder of the version, or build a new version with `mrag ingest`",
        )
