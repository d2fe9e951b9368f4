"""`[gate]`: what a new version must keep up with before it becomes live."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import PositiveCount, Share


@dataclass(frozen=True, slots=True)
class GateSpec:
    """The `[gate]` part of the config file."""

    queries: str = ""  # labelled queries (JSON Lines) to ask both versions; "": none are asked
    strategy: str = "aspect"
    overlap_k: PositiveCount = 10  # documents compared for the overlap
    max_fall: Share = 0.02  # of the mean success ratio, against the live version's
    min_overlap: Share = 0.0  # mean share of the live version's documents found again
    max_fewer_documents: Share = 0.9  # share of the live version's documents that may be missing
