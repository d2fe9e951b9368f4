"""When a run has met so many bad or missing documents that it stops."""

from __future__ import annotations

from mrag_pipeline.errors import TooManyDeadLetters
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


def check_dead_letters(
    spec: IngestSpec, dead: int, documents: int, kept: str, reasons_in: str = ""
) -> None:
    """Stops a run with more dead letters than the spec allows.

    Args:
        dead: dead letters so far; documents: documents taken so far.
        kept: what a second run need not do again, for people.
        reasons_in: where the dead letters are stored, for people.
    Raises: TooManyDeadLetters.
    """
    if not too_many_dead(spec, dead, documents):
        return
    total = dead + documents
    reasons = f"; reasons are in {reasons_in}" if reasons_in else ""
    raise TooManyDeadLetters(
        f"{dead:,} of {total:,} documents ({dead / total:.1%}) are bad{reasons}",
        f"at most {spec.max_dead_letter_share:.1%} (ingest.max_dead_letter_share)",
        f"correct the corpus, or allow a larger share; {kept}",
    )


def too_many_deleted(spec: SyncSpec, deleted: int, documents: int) -> bool:
    """Whether a sync would remove more than the spec allows.

    Args:
        documents: in the version before the sync.
    """
    if deleted < max(1, spec.min_deleted):
        return deleted == documents and documents > 0
    return deleted > spec.max_deleted_share * documents
