"""What an ingest run allows itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IngestSpec:
    """Limits and checks of a run."""

    max_dead_letter_share: float = 0.05  # of the documents; more stops the run
    min_dead_letters: int = 10  # the share is not judged below this many
    verify_sample: int = 32  # chunks whose rankings are checked against exact search
    verify_k: int = 10  # hits compared for each
    verify_among: int = 4_000_000  # chunks they are compared with; of more, evenly spaced shards
    min_recall: float = 1.0  # 1.0: what an exact (FLAT) index gives; lower for others


def too_many_dead(spec: IngestSpec, dead: int, documents: int) -> bool:
    """Whether the dead letters are more than the spec allows.

    Args:
        dead: dead letters so far; documents: documents taken so far.
    """
    if dead < max(1, spec.min_dead_letters):
        return False
    return dead > spec.max_dead_letter_share * (dead + documents)
