"""`[gate]`: how good a new version must be before it becomes live."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Count, PositiveCount, Share


@dataclass(frozen=True, slots=True)
class GateSpec:
    """How a new version is compared with the live one, and what it must reach."""

    queries: str = ""  # file of labelled queries (JSON Lines) for both versions; "": made
    made_questions: Count = 60  # from the documents of both versions, without a file; 0: none
    strategy: str = ""  # of both versions; "": as `[retrieve]` says
    overlap_k: PositiveCount = 10  # documents compared for the overlap
    max_fall: Share = 0.02  # in the mean success ratio, against the live version
    min_overlap: Share = 0.0  # mean share of the live version's documents found again
    max_fewer_documents: Share = 0.9  # share of the live version's documents that may be missing
