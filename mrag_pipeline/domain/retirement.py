"""Which versions nobody needs any more. Pure: records in, names out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.settings.retire import RetireSpec

Fate = Literal["live", "drop", "mark", "grace", "kept", "never live"]


def fates(
    records: Sequence[VersionRecord], live: str | None, now: datetime, spec: RetireSpec
) -> dict[str, Fate]:
    """What becomes of each version.

    live: stays. mark: it is not known since when nobody reads it (the switch was cut short, or
    the clock that wrote it runs ahead), so its grace period starts now. grace: may still be
    read. kept: the newest of those past it. never live: built and not published; stays until it
    is named. drop: the rest.
    """
    found: dict[str, Fate] = {}
    past: list[tuple[datetime, str]] = []
    for record in records:
        if record.version == live:
            found[record.version] = "live"
        elif record.replaced_at == "" and not record.published_at:
            found[record.version] = "never live"
        elif record.replaced_at == "" or (since := _time(record.replaced_at)) > now:
            found[record.version] = "mark"
        elif now - since < timedelta(hours=spec.grace_hours):
            found[record.version] = "grace"
        else:
            past.append((since, record.version))
    past.sort(reverse=True)
    waiting = sum(fate in ("mark", "grace") for fate in found.values())
    room = max(0, spec.keep - waiting)
    for place, (_, version) in enumerate(past):
        found[version] = "kept" if place < room else "drop"
    return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
