"""All steps of a query in one process, over one index version.

The first steps (`QueryEmbedder`) need the model, the others (`Searcher`) the index; a service may
run them in two places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.domain.strategy_choice import choose_strategy
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import Encoder, QueryIndex, Segmenter
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.checks import check_encoder, check_k, check_min_score
from mrag_pipeline.query.embed import QueryEmbedder
from mrag_pipeline.query.question import Query, Question
from mrag_pipeline.query.rerank import Reranking, deepened, is_reranked
from mrag_pipeline.query.search import Searcher
from mrag_pipeline.settings.retrieve import RetrieveSpec


class Retriever:
    """Searches one index version by any strategy, encoder and index in one process."""

    def __init__(
        self,
        encoder: Encoder,
        segmenter: Segmenter,
        index: QueryIndex,
        record: VersionRecord,
        spec: RetrieveSpec | None = None,
        reranking: Reranking | None = None,
    ) -> None:
        """Ready to search.

        Args:
            reranking: what rescores the documents found, unless a query wants none of it.
        Raises: FingerprintMismatch if the encoder did not build the version.
        """
        check_encoder(encoder.card, record)
        self._spec = spec or RetrieveSpec()
        self._embedder = QueryEmbedder(encoder, segmenter, self._spec)
        self._searcher = Searcher(index, record, self._spec)
        self._reranking = reranking

    @property
    def record(self) -> VersionRecord:
        """The version that is searched."""
        return self._searcher.record

    def retrieve(
        self,
        query: str,
        k: int | None = None,
        strategy: str = "",
        sub_queries: Sequence[str] = (),
        *,
        windows: Sequence[str] = (),
        voters: Mapping[str, float] | None = None,
        filter: Filter | None = None,  # noqa: A002 - its name in every other place
        min_heads: int | None = None,
        seconds: float | None = None,
        rerank: bool | None = None,
        min_score: float | None = None,
        scores: bool = True,
    ) -> Answer:
        """The k documents that answer the query best, or as many as were found.

        Args:
            k, strategy: None and "": as the settings say.
            sub_queries: the fusion strategies need them.
            windows: in place of those that we would cut, for strategies of windows.
            voters: their shares, as in `choose_strategy`; those left out as the settings say.
            filter: only documents that match.
            min_heads, seconds, min_score, scores: as in Question.
            rerank: whether the reranker orders the documents; None: if there is one.
        Raises: ConfigError for k below 1, a min_score that is no cosine, or what `check_query`
            refuses; NotConfigured if `rerank` without a reranker; HeadsMissing, IndexBusy,
            IndexUnavailable.
        """
        k = self._spec.k if k is None else k
        check_k(k)
        check_min_score(min_score)
        reranking = self._reranking if is_reranked(rerank, self._reranking is not None) else None
        option = choose_strategy(strategy, {}, self._spec)
        if option.windows == "sub-queries":
            windows = sub_queries or windows
        searched = Query(query, option.name, tuple(windows), voters or {})
        [embedded] = self._embedder.embed([searched])
        question = Question(
            searched,
            embedded,
            k,
            filter=filter,
            min_heads=min_heads,
            seconds=seconds,
            min_score=min_score,
            scores=scores,
        )
        if reranking is None:
            return self._searcher.search([question])[0]
        [answer] = self._searcher.search([deepened(question, reranking.spec)])
        return reranking.rerank(answer, k, seconds)
