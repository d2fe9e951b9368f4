"""`[ingest]`: limits and checks of an ingest run."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Count, PositiveCount, Share


@dataclass(frozen=True, slots=True)
class IngestSpec:
    """Limits and checks of a run."""

    max_dead_letter_share: Share = 0.05  # of the documents; more stops the run
    min_dead_letters: Count = 10  # the share is not judged below this many
    verify_sample: Count = 32  # chunks whose rankings are checked against exact search
    verify_k: PositiveCount = 10  # hits compared for each
    verify_among: PositiveCount = (
        4_000_000  # chunks they are compared with; of more, evenly spaced shards
    )
    min_recall: Share = 1.0  # 1.0: what an exact (FLAT) index gives; lower for others
