"""Decides which versions are no longer needed, from their records alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.settings.retire import RetireSpec

VersionState = Literal["live", "drop", "mark", "grace", "kept", "never live"]


def version_states(
    records: Sequence[VersionRecord], live: str | None, now: datetime, spec: RetireSpec
) -> dict[str, VersionState]:
    """Each version's state, which says what `mrag retire` does with it.

    live: stays. mark: the time of its replacement is unknown (the switch was cut short, or the
    clock that wrote it runs ahead), so its grace period starts now. grace: may still be
    read. kept: the newest of those past it. never live: built and not published; stays until it
    is named. drop: the others.
    """
    states: dict[str, VersionState] = {}
    past_grace: list[tuple[datetime, str]] = []
    for record in records:
        if record.version == live:
            states[record.version] = "live"
        elif record.replaced_at == "" and not record.published_at:
            states[record.version] = "never live"
        elif record.replaced_at == "" or (replaced := _time(record.replaced_at)) > now:
            states[record.version] = "mark"
        elif now - replaced < timedelta(hours=spec.grace_hours):
            states[record.version] = "grace"
        else:
            past_grace.append((replaced, record.version))
    past_grace.sort(reverse=True)
    num_waiting = sum(state in ("mark", "grace") for state in states.values())
    num_kept = max(0, spec.keep - num_waiting)
    for age_rank, (_, version) in enumerate(past_grace):
        states[version] = "kept" if age_rank < num_kept else "drop"
    return states


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
