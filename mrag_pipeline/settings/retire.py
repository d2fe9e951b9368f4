"""`[retire]`: when replaced versions are dropped."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Amount, Count


@dataclass(frozen=True, slots=True)
class RetireSpec:
    """The `[retire]` part of the config file."""

    grace_hours: Amount = 24.0  # after another version has become live
    keep: Count = 1  # replaced versions that stay for going back, the newest
