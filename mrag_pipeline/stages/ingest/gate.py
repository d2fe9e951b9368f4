"""The last look before the flip: labelled queries asked of the live version and the new one."""

from __future__ import annotations

from typing import Protocol

from mrag_pipeline.domain.gate import GateComparison
from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.domain.success import success, unique
from mrag_pipeline.ports import Progress
from mrag_pipeline.settings.gate import GateSpec


class HasDocuments(Protocol):
    """What a retriever answers."""

    def documents(self) -> list[str]:
        """Document ids, best first."""


class Answerer(Protocol):
    """A version that can be asked, with its own encoder."""

    def retrieve(self, query: str, k: int = 10, strategy: str = "") -> HasDocuments:
        """The k documents that answer the query best."""


def compare_versions(
    live: Answerer, new: Answerer, labelled: LabelledSet, spec: GateSpec, progress: Progress
) -> GateComparison:
    """Each query asked of both versions: how much each finds, and how much they agree."""
    progress.phase("gate", len(labelled.queries), "queries")
    totals = [0.0, 0.0, 0.0]
    for query in labelled.queries:
        k = len(query.aspects)
        depth = max(k, spec.overlap_k)
        before = unique(live.retrieve(query.text, depth, spec.strategy).documents())
        after = unique(new.retrieve(query.text, depth, spec.strategy).documents())
        totals[0] += success(query, before[:k], labelled).ratio
        totals[1] += success(query, after[:k], labelled).ratio
        wanted = set(before[: spec.overlap_k])
        again = wanted & set(after[: spec.overlap_k])
        totals[2] += len(again) / len(wanted) if wanted else 1.0
        progress.advance(1)
    progress.finish()
    count = len(labelled.queries)
    return GateComparison(count, *(total / max(1, count) for total in totals))
