"""`[retire]`: when replaced versions are dropped."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Amount, Count


@dataclass(frozen=True, slots=True)
class RetireSpec:
    """How long replaced versions are kept."""

    grace_hours: Amount = 24.0  # after another version became live
    keep: Count = 1  # how many replaced versions to keep for going back, the newest
