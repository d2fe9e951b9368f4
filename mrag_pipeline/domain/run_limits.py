"""When a run has met so many bad or vanished documents that it stops. Pure."""

from __future__ import annotations

from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.sync import SyncSpec


def too_many_dead(spec: IngestSpec, dead: int, documents: int) -> bool:
    """Whether the dead letters are more than the spec allows.

    Args:
        dead: dead letters so far; documents: documents taken so far.
    """
    if dead < max(1, spec.min_dead_letters):
        return False
    return dead > spec.max_dead_letter_share * (dead + documents)


def too_many_deleted(spec: SyncSpec, deleted: int, documents: int) -> bool:
    """Whether a sync would take away more than the spec allows.

    Args:
        documents: in the version before the sync.
    """
    if deleted < max(1, spec.min_deleted):
        return deleted == documents and documents > 0
    return deleted > spec.max_deleted_share * documents
