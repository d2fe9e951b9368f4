"""Which versions go, whatever the clocks that wrote their times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mrag_pipeline.domain.retirement import version_states
from mrag_pipeline.settings.retire import RetireSpec

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOURS = st.integers(-5_000, 5_000)


@dataclass(frozen=True)
class Times:
    """What of a record is looked at."""

    version: str
    published_at: str
    replaced_at: str


def at(hours: int | None) -> str:
    return "" if hours is None else (NOW + timedelta(hours=hours)).isoformat(timespec="seconds")


def judged(records: list[Any], live: str | None, **spec: Any) -> dict[str, str]:
    return dict(version_states(records, live, NOW, RetireSpec(**spec)))


@settings(deadline=None)
@given(
    times=st.lists(st.tuples(st.none() | HOURS, st.none() | HOURS), max_size=6),
    live=st.integers(0, 5),
    keep=st.integers(0, 3),
)
def test_no_clock_makes_a_version_go_early(
    times: list[tuple[int | None, int | None]], live: int, keep: int
) -> None:
    """Only one that was published and replaced, and for longer than the grace; never the live one.

    Its times may lie in the future, before each other, or be missing.
    """
    records = [Times(f"v{i}", at(one), at(two)) for i, (one, two) in enumerate(times)]
    found = judged(records, f"v{live}", grace_hours=24, keep=keep)
    assert found.keys() == {one.version for one in records}
    for place, (_, replaced) in enumerate(times):
        if found[f"v{place}"] == "drop":
            assert place != live
            assert replaced is not None
            assert replaced <= -24
    past = sum(fate == "drop" for fate in found.values())
    assert len(records) - past >= min(keep, len(records))


def test_a_time_in_the_future_starts_the_grace_anew() -> None:
    """The clock that wrote it ran ahead: by our own it is not known since when."""
    found = judged([Times("v1", at(-99), at(50))], None, grace_hours=24, keep=0)
    assert found == {"v1": "mark"}


def test_a_version_made_live_by_a_clock_that_ran_behind_is_live() -> None:
    """What is live is what the alias says, not what was published last."""
    records = [Times("new", at(-5_000), ""), Times("old", at(-10), at(-48))]
    assert judged(records, "new", grace_hours=24, keep=0) == {"new": "live", "old": "drop"}


def test_replaced_versions_that_wait_count_as_kept() -> None:
    """Going back is possible all the same: no older one is kept besides."""
    records = [Times("a", at(-99), at(-1)), Times("b", at(-200), at(-99))]
    assert judged(records, None, grace_hours=24, keep=1) == {"a": "grace", "b": "drop"}
