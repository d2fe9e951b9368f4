"""Labelled queries asked of one index version, strategy by strategy: what was found.

Knows nothing of where the queries come from or how the figures are shown.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Protocol

import numpy as np

from mrag_pipeline.domain.evaluation import (
    BASELINE,
    Evaluation,
    Example,
    Rankings,
    Subject,
    WindowVote,
    curve_of,
    depth,
    figures_of,
)
from mrag_pipeline.domain.labelled_queries import Flaw, LabelledQuery, LabelledSet, flaw
from mrag_pipeline.domain.strategies import STRATEGIES, strategy
from mrag_pipeline.domain.success import unique
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import Encoder, Progress, QueryIndex, Rows, Segmenter
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.stages.evaluate.shared_work import SharedEncoder, SharedIndex

THREADS = 2  # while one embeds, the other searches; each does one at a time
CURVE_KS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)


class Finder(Protocol):
    """Asks one index version by any of several strategies."""

    def find(self, query: LabelledQuery, strategy: str, k: int) -> Sequence[str]:
        """At least k documents where there are so many, best first."""

    def example(self, query: LabelledQuery, strategy: str, k: int) -> Example:
        """Which windows and voters chose what the query found."""

    def forget(self) -> None:
        """The next query is another one: nothing of the last is needed any more."""


class SharingFinder:
    """The product's retriever; what several strategies need of one query is done once."""

    def __init__(
        self, encoder: Encoder, segmenter: Segmenter, index: QueryIndex, record: VersionRecord
    ) -> None:
        self._encoder = SharedEncoder(encoder)
        self._index = SharedIndex(index)
        self._retriever = Retriever(self._encoder, segmenter, self._index, record)

    def find(self, query: LabelledQuery, strategy: str, k: int) -> Sequence[str]:
        """The documents that the retriever gives."""
        return self._ask(query, strategy, k).documents()

    def example(self, query: LabelledQuery, strategy: str, k: int) -> Example:
        """The votes for the documents found, as shares of all of them."""
        answer = self._ask(query, strategy, k)
        votes = np.sum([one.hit.parts for one in answer.found], axis=0)  # (V, W)
        shares = votes / votes.sum()
        return Example(
            query.text,
            strategy,
            answer.voters,
            tuple(
                WindowVote(window.text, tuple(shares[:, at].tolist()))
                for at, window in enumerate(answer.windows)
            ),
            tuple(answer.documents()),
        )

    def forget(self) -> None:
        """Nothing of the last query is kept."""
        self._encoder.forget()
        self._index.forget()

    def _ask(self, query: LabelledQuery, strategy: str, k: int) -> Answer:
        return self._retriever.retrieve(query.text, k, strategy, query.sub_queries)


def strategies_for(labelled: LabelledSet, wanted: Sequence[str]) -> tuple[str, ...]:
    """The strategies to measure, the baseline first.

    Args:
        wanted: names; none: all that the set's queries allow.
    Raises: ConfigError for a name that is none, or one that needs sub-queries the set has not.
    """
    lacking = sum(not query.sub_queries for query in labelled.queries)
    chosen = [strategy(name) for name in wanted or STRATEGIES]
    for one in chosen if wanted else ():
        if lacking and one.windows == "sub-queries":
            raise ConfigError(
                f"{one.name} over {labelled.name}: {lacking} of {len(labelled.queries)} queries "
                "have no sub-queries",
                "sub-queries for every query",
                f"leave out {one.name}, or give your queries `sub_queries`",
            )
    able = [one.name for one in chosen if not (lacking and one.windows == "sub-queries")]
    return tuple(dict.fromkeys(sorted(able, key=lambda name: name != BASELINE)))


def evaluate(
    open_finder: Callable[[], Finder],
    labelled: LabelledSet,
    strategies: Sequence[str],
    ks: Sequence[str],
    baselines: Sequence[str],
    record: VersionRecord,
    index: Rows,
    progress: Progress,
) -> Evaluation:
    """What each strategy finds of the labelled set in the version.

    Args:
        open_finder: called once for each of a few threads.
        ks: "n" or whole numbers as text.
        baselines: strategies that the others are compared with, query by query.
    """
    started = time.monotonic()
    deepest = max(depth(k, len(query.aspects)) for k in ks for query in labelled.queries)
    k = max(deepest, *CURVE_KS)
    found = _ask_all(open_finder, labelled, strategies, k, progress)
    asked = time.monotonic()
    figures = figures_of(labelled, found, ks, baselines)
    return Evaluation(
        subject=_subject(labelled, record, index, found),
        strategies=tuple(strategies),
        ks=tuple(ks),
        figures=figures,
        curves={name: curve_of(labelled, ranked, CURVE_KS) for name, ranked in found.items()},
        importance={
            str(head): float(weight)
            for head, weight in zip(record.encoder.heads, record.importance(), strict=True)
        },
        seconds={
            "search": round(asked - started, 1),
            "figures": round(time.monotonic() - asked, 1),
        },
        examples=_examples(open_finder(), labelled, strategies),
    )


def _ask_all(
    open_finder: Callable[[], Finder],
    labelled: LabelledSet,
    strategies: Sequence[str],
    k: int,
    progress: Progress,
) -> dict[str, list[list[str]]]:
    """By strategy, the documents found for each query, in the order of the queries."""
    idle: SimpleQueue[Finder] = SimpleQueue()
    for _ in range(THREADS):
        idle.put(open_finder())

    def ask(query: LabelledQuery) -> list[list[str]]:
        finder = idle.get()
        try:
            return [unique(finder.find(query, name, k)) for name in strategies]
        finally:
            finder.forget()
            idle.put(finder)

    found: dict[str, list[list[str]]] = {name: [] for name in strategies}
    progress.phase("evaluate", len(labelled.queries), "queries")
    with ThreadPoolExecutor(THREADS, "evaluate") as threads:
        try:
            for answers in threads.map(ask, labelled.queries):
                for name, documents in zip(strategies, answers, strict=True):
                    found[name].append(documents)
                progress.advance(1)
        except BaseException:
            # Else every query that is left would still be asked before the error is told.
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    progress.finish()
    return found


def _examples(
    finder: Finder, labelled: LabelledSet, strategies: Sequence[str]
) -> tuple[Example, ...]:
    """One query of a middling number of aspects, under each strategy of windows and heads."""
    by_aspects = sorted(labelled.queries, key=lambda query: query.num_named)
    query = by_aspects[len(by_aspects) // 2]
    return tuple(
        finder.example(query, name, len(query.aspects))
        for name in strategies
        if (STRATEGIES[name].windows, STRATEGIES[name].voters) == ("aspects", "heads")
    )


def _subject(
    labelled: LabelledSet,
    record: VersionRecord,
    index: Rows,
    rankings: Mapping[str, Rankings],
) -> Subject:
    return Subject(
        data_set=labelled.name,
        relevance=labelled.relevance,
        num_queries=len(labelled.queries),
        queries_by_aspects=dict(sorted(Counter(q.num_named for q in labelled.queries).items())),
        flaws=(*labelled.flaws, *_not_indexed(labelled, record, index, rankings)),
        index=record.index,
        version=record.version,
        model=record.encoder.spec.model,
        num_documents=record.num_documents,
        num_chunks=record.num_chunks,
    )


def _not_indexed(
    labelled: LabelledSet,
    record: VersionRecord,
    index: Rows,
    rankings: Mapping[str, Rankings],
) -> tuple[Flaw, ...]:
    """Aspects that no strategy can find, because the version has none of their documents.

    They stay counted: the index was asked for them. A document that some strategy found is
    there; only the others are looked up.
    """
    seen = {
        document for ranked in rankings.values() for documents in ranked for document in documents
    }
    collection = record.chunks_collection()
    known: dict[str, bool] = {}
    absent = []
    for query in labelled.queries:
        for aspect in query.aspects:
            if not seen.isdisjoint(aspect.documents):
                continue
            for document in aspect.documents:
                if document not in known:
                    known[document] = bool(index.chunks_of_document(collection, document))
            if not any(known[document] for document in aspect.documents):
                absent.append(aspect.name)
    return flaw("aspects with no document in the index: counted as not found", absent)
