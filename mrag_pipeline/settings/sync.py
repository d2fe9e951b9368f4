"""`[sync]`: limits of a sync."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Amount, Count, Share


@dataclass(frozen=True, slots=True)
class SyncSpec:
    """How many documents a sync may delete, and which rows of a database it reads again."""

    max_deleted_share: Share = 0.2  # of the version's documents; more needs --allow-deletes
    min_deleted: Count = 10  # fewer are always deleted, whatever their share
    overlap_s: Amount = 600.0  # rows updated so long before the newest known are read again
