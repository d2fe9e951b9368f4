"""Last step, where a reranker is configured: it rescores what the vote found.

Needs an answer and a reranker, and neither encoder nor index. What is scored and how scores become
an order is `domain/reranking.py`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import numpy as np

from mrag_pipeline.domain.reranking import WindowDocuments, documents_by_window, reranked
from mrag_pipeline.domain.strategy_choice import choose_strategy
from mrag_pipeline.errors import MragError, NotConfigured, OutOfTime
from mrag_pipeline.ports import Reranker, RerankRequest
from mrag_pipeline.query.answer import Answer, FoundDocument
from mrag_pipeline.query.question import Question
from mrag_pipeline.query.search import FUSED_DOCUMENTS
from mrag_pipeline.settings.rerank import RerankSpec
from mrag_pipeline.settings.retrieve import RetrieveSpec

log = logging.getLogger(__name__)


def is_reranked(wanted: bool | None, configured: bool) -> bool:
    """Whether a question is reranked: as it says, or else if a reranker is configured.

    Raises: NotConfigured if it wants a reranker and there is none.
    """
    if wanted and not configured:
        raise NotConfigured(
            "reranking is wanted, but no reranker is configured",
            "rerank.model or rerank.url",
            "set one of them in [rerank] of the config, or leave `rerank` out",
        )
    return configured if wanted is None else wanted


def deepened(question: Question, spec: RerankSpec) -> Question:
    """The question with as many documents as are rescored, each with every window's passage."""
    return replace(question, k=max(question.k, spec.documents), passages=True)


def as_voted(answer: Answer, k: int, error: MragError) -> Answer:
    """The first k documents in the vote's order, with a warning that says why."""
    log.warning("rerank_failed error=%s: %s", type(error).__name__, error.found)
    # The error's own text can name addresses; its type says enough to a caller.
    reason = (type(error).__doc__ or "").splitlines()[0].rstrip(".")
    if isinstance(error, OutOfTime):
        reason = "The reranker did not answer in time"
    warning = f"not reranked: {reason}. The hits are in the order of the vote"
    found = tuple(replace(document, passages=()) for document in answer.found[:k])
    return replace(answer, found=found, warnings=(*answer.warnings, warning))


class Reranking:
    """Puts the documents of answers into the order of a reranker. Threads may share it."""

    def __init__(
        self, reranker: Reranker, spec: RerankSpec, retrieve: RetrieveSpec | None = None
    ) -> None:
        """Ready to rerank.

        Args:
            retrieve: the settings of the vote, by which the windows' new rankings vote too.
        """
        self._reranker = reranker
        self._spec = spec
        self._retrieve = retrieve or RetrieveSpec()

    @property
    def reranker(self) -> Reranker:
        """What scores."""
        return self._reranker

    @property
    def spec(self) -> RerankSpec:
        """The settings."""
        return self._spec

    def rerank(self, answer: Answer, k: int, seconds: float | None = None) -> Answer:
        """The k documents of a deepened question's answer that the reranker puts first.

        Documents that were not rescored follow, in the vote's order.

        Args:
            seconds: the time that is left, if less than `rerank.timeout_s`.
        Raises: what the reranker raises, if `rerank.on_error` is "fail"; else the answer keeps
            the vote's order and says so.
        """
        started = time.perf_counter()
        if not answer.found:
            return answer
        timeout_s = self._spec.timeout_s
        windows = documents_by_window(
            np.stack([document.hit.parts.sum(axis=0) for document in answer.found]),
            self._spec.documents,
        )
        requests = [_request(row, answer) for row in windows]
        try:
            scores = self._reranker.scores(
                requests, timeout_s if seconds is None else min(seconds, timeout_s)
            )
        except MragError as error:
            if self._spec.on_error == "fail":
                raise
            return _timed(as_voted(answer, k, error), started)
        strategy = choose_strategy(answer.strategy, {}, self._retrieve)
        order = reranked(windows, scores, strategy, FUSED_DOCUMENTS)
        found = [_shown(answer.found[place.document], place.window, place.score) for place in order]
        scored = {place.document for place in order}
        found += [
            replace(document, passages=())
            for row, document in enumerate(answer.found)
            if row not in scored
        ]
        ordered = replace(answer, found=tuple(found[:k]), reranker=self._reranker.name)
        return _timed(ordered, started)


def _timed(answer: Answer, started: float) -> Answer:
    return replace(answer, seconds={**answer.seconds, "rerank": time.perf_counter() - started})


def _request(row: WindowDocuments, answer: Answer) -> RerankRequest:
    passages = (answer.found[document] for document in row.documents)
    return RerankRequest(
        answer.windows[row.window].text,
        tuple(_text(document, row.window) for document in passages),
    )


def _text(document: FoundDocument, window: int) -> str:
    """What the reranker reads of a document: its title, and the window's passage."""
    row = document.passages[window]
    return f"{row.title}\n{row.text}" if row.title and row.title not in row.text else row.text


def _shown(document: FoundDocument, window: int, score: float) -> FoundDocument:
    """The document, shown by the passage that its score is of."""
    row = document.passages[window]
    others = tuple(chunk for chunk in document.hit.chunk_ids if chunk != row.id)
    return replace(
        document,
        hit=replace(document.hit, chunk_ids=(row.id, *others)),
        row=row,
        passages=(),
        rerank_score=score,
        rerank_window=window,
    )
