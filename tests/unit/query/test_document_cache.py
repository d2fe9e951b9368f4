"""Which document a chunk is of: remembered for a while, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrag_pipeline.query.document_cache import DocumentCache

SECONDS = 60.0


class Rows:
    """Documents of the ids below 1,000; keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def look_up(self, collection: str, ids: Sequence[int], likely: Sequence[int]) -> Any:
        self.asked.append(list(ids))
        rows = {one: f"row {one}" for one in likely}
        return {one: f"{collection} {one}" for one in ids if one < 1000}, rows


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def remembering(most: int = 1_000) -> tuple[DocumentCache, Rows, Clock]:
    rows, clock = Rows(), Clock()
    return DocumentCache(rows, SECONDS, most, clock), rows, clock  # type: ignore[arg-type]


def test_what_is_known_is_not_asked_again() -> None:
    """Nor is it mixed up between collections; rows are read every time."""
    index, rows, _ = remembering()
    assert index.look_up("a", [1, 2], [1]) == ({1: "a 1", 2: "a 2"}, {1: "row 1"})
    assert index.look_up("a", [2, 3, 1], [2])[0] == {2: "a 2", 3: "a 3", 1: "a 1"}
    assert index.look_up("a", [3], [3]) == ({3: "a 3"}, {3: "row 3"})
    assert index.look_up("b", [1], [])[0] == {1: "b 1"}
    assert rows.asked == [[1, 2], [3], [], [1]]


def test_what_does_not_exist_is_asked_each_time() -> None:
    """A sync may add it."""
    index, rows, _ = remembering()
    for _ in range(2):
        assert index.look_up("a", [5000, 1], [])[0] == {1: "a 1"}
    assert rows.asked == [[5000, 1], [5000]]


def test_nothing_is_believed_for_longer_than_is_allowed() -> None:
    """However often it is asked for meanwhile; half of that time at least."""
    index, rows, clock = remembering()
    read_at, times = 0.0, []
    for second in range(0, 301, 5):
        clock.now = float(second)
        before = len(rows.asked)
        index.look_up("a", [1], [])
        if rows.asked[before]:
            times.append(clock.now - read_at)
            read_at = clock.now
    assert all(SECONDS / 2 <= one <= SECONDS for one in times[1:])
    clock.now += 10 * SECONDS
    index.look_up("a", [1], [])
    assert rows.asked[-1] == [1]


def test_no_more_is_remembered_than_is_allowed() -> None:
    """What was read last stays."""
    index, rows, _ = remembering(most=100)
    for start in range(0, 900, 10):
        index.look_up("a", list(range(start, start + 10)), [])
        assert len(index._new) + len(index._old) <= 110
    index.look_up("a", list(range(890, 900)), [])
    assert rows.asked[-1] == []


def test_forgetting_starts_anew() -> None:
    """As when the index has changed."""
    index, rows, _ = remembering()
    index.look_up("a", [1], [])
    index.forget()
    index.look_up("a", [1], [])
    assert rows.asked == [[1], [1]]
