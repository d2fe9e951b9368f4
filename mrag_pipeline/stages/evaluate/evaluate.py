"""Searches one index version for labelled queries, strategy by strategy, and counts what is found.

Knows nothing of where the queries come from or how the figures are shown.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from mrag_pipeline.domain.evaluation import (
    RIVALS,
    Evaluation,
    Example,
    Rankings,
    RerankGain,
    Subject,
    curve_of,
    depth,
    figures_by_kind,
    figures_of,
    gains_of,
)
from mrag_pipeline.domain.labelled_queries import Flaw, LabelledQuery, LabelledSet, flaw
from mrag_pipeline.domain.strategies import STRATEGIES, strategy
from mrag_pipeline.domain.success import unique
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import Progress, Rows
from mrag_pipeline.stages.evaluate.finder import Finder
from mrag_pipeline.stages.evaluate.rank_measures import rank_measures
from mrag_pipeline.stages.evaluate.rerank_meter import RerankMeter

THREADS = 2  # while one embeds, the other searches; each does one at a time
CURVE_KS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)


def strategies_for(labelled: LabelledSet, wanted: Sequence[str]) -> tuple[str, ...]:
    """The strategies to measure, the rivals that every report has first.

    Args:
        wanted: names; empty: all that the set's queries allow.
    Raises: ConfigError for an unknown name, or for one that needs sub-queries if the set has none.
    """
    num_lacking = sum(not query.sub_queries for query in labelled.queries)
    chosen = [strategy(name) for name in wanted or STRATEGIES]
    for option in chosen if wanted else ():
        if num_lacking and option.windows == "sub-queries":
            raise ConfigError(
                f"{option.name} over {labelled.name}: {num_lacking} of "
                f"{len(labelled.queries)} queries have no sub-queries",
                "sub-queries for every query",
                f"leave out {option.name}, or give your queries `sub_queries`",
            )
    names = [
        option.name for option in chosen if not (num_lacking and option.windows == "sub-queries")
    ]
    return tuple(dict.fromkeys([*RIVALS, *names]))


def evaluate(
    open_finder: Callable[[], Finder],
    labelled: LabelledSet,
    strategies: Sequence[str],
    ks: Sequence[str],
    baselines: Sequence[str],
    record: VersionRecord,
    index: Rows,
    progress: Progress,
    meter: RerankMeter | None = None,
) -> Evaluation:
    """The figures of what each strategy finds for the labelled set in the version.

    Args:
        open_finder: called once for each of a few threads.
        ks: "n" or whole numbers as text.
        baselines: strategies that the others are compared with, query by query.
        meter: of the finders' reranker: every strategy is measured with it too; None: without.
    """
    if record.lexical is None:
        # Nothing to ask: the store that holds the version has no full-text search.
        strategies = [name for name in strategies if not strategy(name).needs_words]
    started = time.monotonic()
    deepest = max(depth(k, len(query.aspects)) for k in ks for query in labelled.queries)
    k = max(deepest, *CURVE_KS)
    rankings, reranked = _search_all(
        open_finder, labelled, strategies, k, progress, meter is not None
    )
    searched = time.monotonic()
    figures = figures_of(labelled, rankings, ks, baselines, rank_measures)
    gain = None
    if meter is not None:
        gains = gains_of(labelled, rankings, reranked, ks, rank_measures)
        gain = RerankGain(meter.name, gains, meter.costs())
    return Evaluation(
        subject=_subject(labelled, record, index, rankings),
        strategies=tuple(strategies),
        ks=tuple(ks),
        figures=figures,
        curves={name: curve_of(labelled, ranked, CURVE_KS) for name, ranked in rankings.items()},
        importance={
            str(head): float(weight)
            for head, weight in zip(record.encoder.heads, record.importance(), strict=True)
        },
        seconds={
            "search": round(searched - started, 1),
            "figures": round(time.monotonic() - searched, 1),
        },
        examples=_examples(open_finder(), labelled, strategies),
        reranking=gain,
        by_kind=figures_by_kind(labelled, rankings, ks[0]),
    )


def _search_all(
    open_finder: Callable[[], Finder],
    labelled: LabelledSet,
    strategies: Sequence[str],
    k: int,
    progress: Progress,
    rerank: bool,
) -> tuple[dict[str, list[list[str]]], dict[str, list[list[str]]]]:
    """By strategy, the documents found for each query, in the order of the queries.

    Args:
        rerank: whether each is asked with the reranker too.
    Returns: without the reranker, and with it.
    """
    idle: SimpleQueue[Finder] = SimpleQueue()
    for _ in range(THREADS):
        idle.put(open_finder())

    def search(query: LabelledQuery) -> list[list[str]]:
        finder = idle.get()
        try:
            plain = [finder.find(query, name, k) for name in strategies]
            ordered = [finder.find(query, name, k, rerank=True) for name in strategies if rerank]
            return [unique(documents) for documents in (*plain, *ordered)]
        finally:
            finder.forget()
            idle.put(finder)

    rankings: dict[str, list[list[str]]] = {name: [] for name in strategies}
    reranked: dict[str, list[list[str]]] = {name: [] for name in strategies if rerank}
    columns = [*rankings.values(), *reranked.values()]
    progress.phase("evaluate", len(labelled.queries), "queries")
    with ThreadPoolExecutor(THREADS, "evaluate") as threads:
        try:
            for answers in threads.map(search, labelled.queries):
                for column, documents in zip(columns, answers, strict=True):
                    column.append(documents)
                progress.advance(1)
        except BaseException:
            # Else all remaining queries would still be searched before the error is raised.
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    progress.finish()
    return rankings, reranked


def _examples(
    finder: Finder, labelled: LabelledSet, strategies: Sequence[str]
) -> tuple[Example, ...]:
    """One query of a middling number of aspects, under each strategy of windows and heads."""
    by_aspects = sorted(labelled.queries, key=lambda query: query.num_named)
    query = by_aspects[len(by_aspects) // 2]
    return tuple(
        finder.example(query, name, len(query.aspects))
        for name in strategies
        if STRATEGIES[name].windows == "aspects" and "heads" in STRATEGIES[name].voters
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

    They stay counted. A document that some strategy found is in the index; only the others are
    looked up.
    """
    document_ids = {
        document for ranked in rankings.values() for documents in ranked for document in documents
    }
    collection = record.chunks_collection()
    is_indexed: dict[str, bool] = {}
    absent = []
    for query in labelled.queries:
        for aspect in query.aspects:
            if not document_ids.isdisjoint(aspect.documents):
                continue
            for document in aspect.documents:
                if document not in is_indexed:
                    is_indexed[document] = bool(index.chunks_of_document(collection, document))
            if not any(is_indexed[document] for document in aspect.documents):
                absent.append(aspect.name)
    return flaw("aspects with no document in the index: counted as not found", absent)
