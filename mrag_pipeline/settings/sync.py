"""`[sync]`: what a sync allows itself."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Count, Share


@dataclass(frozen=True, slots=True)
class SyncSpec:
    """The `[sync]` part of the config file."""

    max_deleted_share: Share = 0.2  # of the version's documents; more needs --allow-deletes
    min_deleted: Count = 10  # the share is not judged below this many
