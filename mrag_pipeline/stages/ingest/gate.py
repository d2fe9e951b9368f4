"""The last check before a version goes live: queries searched in the live one and in the new one.

They are labelled ones or, if none are configured, made from the documents of both versions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from mrag_pipeline.domain.evaluation import groups_of
from mrag_pipeline.domain.gate import GateComparison, Verdict, judge
from mrag_pipeline.domain.labelled_queries import LabelledSet
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.success import Resamples, success, unique
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import ComparableVersions, Progress
from mrag_pipeline.settings.gate import GateSpec
from mrag_pipeline.stages.evaluate.self_questions import common_questions
from mrag_pipeline.stages.ingest.publish import keep_ready
from mrag_pipeline.stages.ingest.reconcile import StagedCounts
from mrag_pipeline.stages.ingest.verify import CollectionCheck

VECTOR_ALONE = "standard"


class HasDocuments(Protocol):
    """A retriever's answer."""

    def documents(self) -> list[str]:
        """Document ids, best first."""


class SearchableVersion(Protocol):
    """A version that can be searched with its own encoder."""

    def retrieve(
        self, query: str, k: int = 10, strategy: str = "", *, scores: bool = True
    ) -> HasDocuments:
        """The k documents that answer the query best; without scores it costs less."""


def gate(
    manifest: Manifest,
    staged: StagedCounts,
    checks: Sequence[CollectionCheck],
    index: ComparableVersions,
    spec: GateSpec,
    read_queries: Callable[[Path], LabelledSet],
    open_version: Callable[[VersionRecord], SearchableVersion],
    progress: Progress,
) -> Verdict:
    """Compares the new version with the live one that it would replace; switches nothing.

    The gate is open if no other version is live. Otherwise the new version's record is written
    first, so that a rejected version can be inspected, or activated by name.

    Args:
        read_queries: reads the file named by `gate.queries`.
        open_version: a version that can be searched, given its record.
    """
    live_name = index.live()
    live = index.record(live_name) if live_name not in (None, manifest.version) else None
    if live is None:
        return Verdict(staged.num_documents, 0, (), ())
    new = keep_ready(manifest, staged, index, checks)
    compared: list[GateComparison] = []
    if spec.queries:
        labelled = read_queries(Path(spec.queries))
        opened = open_version(live), open_version(new)
        compared = [compare_versions(*opened, labelled, spec, progress, spec.strategy)]
    elif spec.made_questions:
        made = common_questions(index, live, new, spec.made_questions, progress)
        if made is not None:
            opened = open_version(live), open_version(new)
            # Where words are searched too, they cover for vectors that have become worse.
            compared = [
                compare_versions(*opened, made, spec, progress, by, are_made=True)
                for by in dict.fromkeys((spec.strategy, VECTOR_ALONE))
            ]
    return judge(spec, new.num_documents, live.num_documents, compared)


def compare_versions(
    live: SearchableVersion,
    new: SearchableVersion,
    labelled: LabelledSet,
    spec: GateSpec,
    progress: Progress,
    strategy: str = "",
    *,
    are_made: bool = False,
) -> GateComparison:
    """Searches both versions for each query: how much each finds, and how much they agree.

    Args:
        strategy: "": as the settings say.
        are_made: the queries were made from the documents; their difference gets an interval.
    """
    progress.phase("gate", len(labelled.queries), "queries")
    found = np.zeros((len(labelled.queries), 2))  # success ratios in the live and the new version
    overlap = 0.0
    for number, query in enumerate(labelled.queries):
        k = len(query.aspects)
        depth = max(k, spec.overlap_k)
        live_documents, new_documents = (
            unique(version.retrieve(query.text, depth, strategy, scores=False).documents())
            for version in (live, new)
        )
        found[number, 0] = success(query, live_documents[:k], labelled).ratio
        found[number, 1] = success(query, new_documents[:k], labelled).ratio
        expected = set(live_documents[: spec.overlap_k])
        found_again = expected & set(new_documents[: spec.overlap_k])
        overlap += len(found_again) / len(expected) if expected else 1.0
        progress.advance(1)
    progress.finish()
    num_queries = len(labelled.queries)
    live_success, new_success = found.mean(axis=0).tolist() if num_queries else (0.0, 0.0)
    difference = None
    if are_made and num_queries:
        # Drawn within each number of aspects, of which the made questions have equally many.
        gaps = found[:, 1:] - found[:, :1]
        [difference] = Resamples(groups_of(labelled)).intervals(gaps)
    return GateComparison(
        num_queries, live_success, new_success, overlap / max(1, num_queries), difference, strategy
    )
