"""Flags in a store without compare-and-swap: never two owners, and a dead owner expires."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

import pytest

from mrag_pipeline.errors import IndexBusy
from mrag_pipeline.locking.index_lease import Claim, Flag, Watch, acquire
from mrag_pipeline.locking.owner import Owner

ELSEWHERE = Owner(7, "elsewhere", "2026-01-01T00:00:00+00:00")


class Shelf:
    """A store in memory; every call is done when it returns."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def put(self, name: str, payload: str) -> None:
        self.rows[name] = payload

    def remove(self, names: Iterable[str]) -> None:
        for name in list(names):
            self.rows.pop(name, None)

    def all(self) -> Mapping[str, str]:
        return dict(self.rows)


class Sleeps:
    """A clock that advances only in sleep, and runs scripted events meanwhile."""

    def __init__(self, *happens: object) -> None:
        self.count = 0
        self._happens = happens

    def __call__(self, seconds: float) -> None:
        assert seconds > 0
        self.count += 1
        assert self.count < 500, "it waits for ever"
        for one in self._happens:
            one()  # type: ignore[operator]


def a_claim(shelf: Shelf) -> Claim:
    return Claim(shelf, ELSEWHERE)


def held(shelf: Shelf) -> Claim:
    claim = a_claim(shelf)
    assert claim.attempt() == []
    return claim


def test_a_free_index_is_taken_at_once() -> None:
    """Releasing it leaves no flag behind."""
    shelf, sleeps = Shelf(), Sleeps()
    first = a_claim(shelf)
    acquire(first, "docs", 0.0, sleeps)
    assert (sleeps.count, len(shelf.rows)) == (0, 1)
    first.lower()
    assert shelf.rows == {}
    acquire(a_claim(shelf), "docs", 0.0, sleeps)
    assert sleeps.count == 0


def test_an_index_with_a_live_owner_is_refused() -> None:
    """Only after its flag has moved; the message names process, host, start and age."""
    shelf = Shelf()
    owner = held(shelf)
    turns = iter([None, None, owner.beat])

    def sometimes() -> None:
        beat = next(turns, None)
        if beat is not None:
            beat()

    sleeps = Sleeps(sometimes)
    with pytest.raises(IndexBusy, match="process 7 on elsewhere, since 2026-01-01") as error:
        acquire(a_claim(shelf), "docs", 0.0, sleeps)
    assert sleeps.count == 3
    assert "one run on an index at a time" in error.value.expected
    assert owner.beat()
    assert len(shelf.rows) == 1


def test_a_dead_owners_flag_is_removed() -> None:
    """After a number of reads without a change, whatever the owner's clock says."""
    shelf = Shelf()
    dead = Claim(shelf, Owner(7, "elsewhere", "2099-01-01T00:00:00+00:00"))
    dead.attempt()
    sleeps = Sleeps()
    acquire(a_claim(shelf), "docs", 0.0, sleeps, Watch(dead_looks=10))
    assert sleeps.count == 10
    assert not dead.beat()


def test_an_owner_that_died_on_this_host_blocks_nobody() -> None:
    """The host knows that its process has ended."""
    shelf, sleeps = Shelf(), Sleeps()
    me = Owner.here()
    gone = Owner(me.pid, me.host, me.since, me.birth + "0" if me.birth else "")
    if not gone.is_gone():
        pytest.skip("reads /proc")
    Claim(shelf, gone).attempt()
    acquire(a_claim(shelf), "docs", 0.0, sleeps)
    assert sleeps.count == 0


def test_a_second_run_may_wait() -> None:
    """It takes the index when the first run has ended."""
    shelf = Shelf()
    owner = held(shelf)
    turns = iter([owner.beat, owner.beat, owner.lower])
    sleeps = Sleeps(lambda: next(turns)())
    acquire(a_claim(shelf), "docs", 3600.0, sleeps)
    assert sleeps.count == 3


def test_an_owner_notices_that_its_flag_was_removed() -> None:
    """It was stopped so long that it counted as dead; its next heartbeat raises."""
    shelf = Shelf()
    stopped = held(shelf)
    acquire(a_claim(shelf), "docs", 0.0, Sleeps(), Watch(dead_looks=5))
    assert not stopped.beat()
    assert len(shelf.rows) == 1


def test_a_moving_flag_is_always_visible() -> None:
    """At every write, the new row exists before the old one is removed."""
    shelf = Shelf()
    claim = held(shelf)

    class Checked(Shelf):
        def remove(self, names: Iterable[str]) -> None:
            super().remove(names)
            assert self.rows

    shelf.__class__ = Checked
    for _ in range(3):
        assert claim.beat()


def test_two_owners_never_hold_the_index_together() -> None:
    """In every order of reads and writes at most one holds it; one alone always does."""
    steps = len(list(_attempt(Shelf(), [])))
    outcomes = set()
    for turns in combinations(range(2 * steps), steps):
        shelf = Shelf()
        won: list[str] = []
        runs = [_attempt(shelf, won), _attempt(shelf, won)]
        for turn in range(2 * steps):
            next(runs[0 if turn in turns else 1], None)
        for run in runs:
            list(run)
        outcomes.add(len(won))
        assert len(won) <= 1, turns
    assert outcomes == {0, 1}


def _attempt(shelf: Shelf, won: list[str]) -> Iterator[None]:
    """Claim.attempt, stopping before each read and write."""
    claim = a_claim(shelf)
    yield
    claim.show(holds=False)
    yield
    if claim.others():
        yield
        claim.lower()
        return
    yield
    claim.show(holds=True)
    won.append(claim.token)


def test_the_attempt_that_is_stepped_through_is_the_real_one() -> None:
    """The same writes in the same order as `Claim.attempt`'s."""

    class Noted(Shelf):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []

        def put(self, name: str, payload: str) -> None:
            self.calls.append(f"put {json.loads(payload)['holds']}")
            super().put(name, payload)

        def remove(self, names: Iterable[str]) -> None:
            self.calls.append("remove")
            super().remove(names)

        def all(self) -> Mapping[str, str]:
            self.calls.append("read")
            return super().all()

    real, stepped = Noted(), Noted()
    a_claim(real).attempt()
    list(_attempt(stepped, []))
    assert real.calls == stepped.calls
    for shelf in (real, stepped):
        shelf.calls.clear()
    a_claim(real).attempt()
    list(_attempt(stepped, []))
    assert real.calls == stepped.calls


def test_a_flag_seen_for_the_first_time_is_not_dead() -> None:
    """A process that slept between two looks counts looks, not time."""
    watch = Watch(dead_looks=2)
    flag = Flag("a", 1, True, ELSEWHERE, ("lease/a/00000001",))
    assert [watch.look([flag]) for _ in range(3)] == [[], [], [flag]]
    moved = Flag("a", 2, True, ELSEWHERE, ("lease/a/00000002",))
    assert watch.look([moved]) == []
    assert watch.moved(moved)
