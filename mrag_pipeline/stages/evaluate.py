"""Labelled queries asked of one index version, strategy by strategy: what was found.

Knows nothing of where the queries come from or how the figures are shown.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from mrag_pipeline.domain.comparison import distinct
from mrag_pipeline.domain.evaluation import (
    Evaluation,
    Example,
    Rankings,
    Subject,
    curve_of,
    depth,
    figures_of,
)
from mrag_pipeline.domain.labelled import Flaw, LabelledQuery, LabelledSet, flaw
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import Progress, VectorIndex

CURVE_KS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)


class Finder(Protocol):
    """Asks one index version by any of several strategies."""

    def find(self, query: LabelledQuery, strategy: str, k: int) -> Sequence[str]:
        """At least k documents where there are so many, best first; ids may repeat."""

    def example(self, query: LabelledQuery, strategy: str, k: int) -> Example | None:
        """Which windows and heads voted for what the query found; None if nothing votes."""

    def forget(self) -> None:
        """The next query is another one: nothing of the last is needed any more."""


def evaluate(
    finder: Finder,
    labelled: LabelledSet,
    strategies: Sequence[str],
    ks: Sequence[str],
    baselines: Sequence[str],
    record: VersionRecord,
    index: VectorIndex,
    progress: Progress,
) -> Evaluation:
    """What each strategy finds of the labelled set in the version.

    Args:
        ks: "n" or whole numbers as text.
        baselines: strategies that the others are compared with, query by query.
    """
    started = time.monotonic()
    deepest = max(depth(k, len(query.aspects)) for k in ks for query in labelled.queries)
    k = max(deepest, *CURVE_KS)
    found: dict[str, list[list[str]]] = {strategy: [] for strategy in strategies}
    progress.phase("evaluate", len(labelled.queries), "queries")
    for query in labelled.queries:
        for strategy in strategies:
            found[strategy].append(distinct(finder.find(query, strategy, k)))
        finder.forget()
        progress.advance(1)
    progress.finish()
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
        examples=_examples(finder, labelled, strategies),
    )


def _examples(
    finder: Finder, labelled: LabelledSet, strategies: Sequence[str]
) -> tuple[Example, ...]:
    """One query of a middling number of aspects, under each strategy that can say who voted."""
    by_aspects = sorted(labelled.queries, key=lambda query: query.num_named)
    query = by_aspects[len(by_aspects) // 2]
    made = (finder.example(query, strategy, len(query.aspects)) for strategy in strategies)
    examples = tuple(one for one in made if one is not None)
    finder.forget()
    return examples


def _subject(
    labelled: LabelledSet,
    record: VersionRecord,
    index: VectorIndex,
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
    index: VectorIndex,
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
