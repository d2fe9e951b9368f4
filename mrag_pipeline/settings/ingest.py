"""`[ingest]`: limits and checks of an ingest run."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Count, PositiveCount, Share, ShareBelowOne


@dataclass(frozen=True, slots=True)
class IngestSpec:
    """Limits and checks of an ingest run."""

    max_dead_letter_share: Share = 0.05  # of the documents; more stop the run
    min_dead_letters: Count = 10  # fewer never stop the run, whatever their share
    verify_sample: Count = 32  # chunks whose rankings are checked against exact search
    verify_recall: ShareBelowOne = 0.0  # as many chunks as show it at 99%; 0: verify_sample
    verify_k: PositiveCount = 10  # hits compared for each chunk
    verify_among: PositiveCount = (
        4_000_000  # chunks searched exactly; if there are more, evenly spaced shards
    )
    min_recall: Share = 1.0  # 1.0 is what an exact (FLAT) index gives; set less for others
