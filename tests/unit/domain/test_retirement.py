"""Which versions are dropped, whatever the clocks that wrote their times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.domain.retirement import version_states
from mrag_pipeline.settings.retire import RetireSpec

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOURS = st.integers(-5_000, 5_000)


@dataclass(frozen=True)
class Times:
    """The fields of a record that decide its state."""

    version: str
    published_at: str
    replaced_at: str


def time_at(hours: int | None) -> str:
    return "" if hours is None else (NOW + timedelta(hours=hours)).isoformat(timespec="seconds")


def states_of(records: list[Any], live: str | None, **spec: Any) -> dict[str, str]:
    return dict(version_states(records, live, NOW, RetireSpec(**spec)))


@given(
    times=st.lists(st.tuples(st.none() | HOURS, st.none() | HOURS), max_size=6),
    live=st.integers(0, 5),
    keep=st.integers(0, 3),
)
def test_no_clock_drops_a_version_early(
    times: list[tuple[int | None, int | None]], live: int, keep: int
) -> None:
    """Only one that was replaced longer ago than the grace time is dropped; never the live one.

    Its times may lie in the future, before each other, or be missing.
    """
    records = [
        Times(f"v{i}", time_at(published), time_at(replaced))
        for i, (published, replaced) in enumerate(times)
    ]
    states = states_of(records, f"v{live}", grace_hours=24, keep=keep)
    assert states.keys() == {record.version for record in records}
    for number, (_, replaced) in enumerate(times):
        if states[f"v{number}"] == "drop":
            assert number != live
            assert replaced is not None
            assert replaced <= -24
    num_dropped = sum(state == "drop" for state in states.values())
    assert len(records) - num_dropped >= min(keep, len(records))


def test_a_time_in_the_future_starts_the_grace_anew() -> None:
    """The clock that wrote it was ahead, so the real time of the replacement is unknown."""
    states = states_of([Times("v1", time_at(-99), time_at(50))], None, grace_hours=24, keep=0)
    assert states == {"v1": "mark"}


def test_a_version_made_live_by_a_clock_that_ran_behind_is_live() -> None:
    """The alias decides which version is live, not the time of publication."""
    records = [Times("new", time_at(-5_000), ""), Times("old", time_at(-10), time_at(-48))]
    assert states_of(records, "new", grace_hours=24, keep=0) == {"new": "live", "old": "drop"}


def test_replaced_versions_that_wait_count_as_kept() -> None:
    """They can be activated again, so no older one is kept for that."""
    records = [Times("a", time_at(-99), time_at(-1)), Times("b", time_at(-200), time_at(-99))]
    assert states_of(records, None, grace_hours=24, keep=1) == {"a": "grace", "b": "drop"}
