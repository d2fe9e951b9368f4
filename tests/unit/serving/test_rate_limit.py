"""Rate limits, by a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.errors import ConfigError, TooManyRequests
from mrag_pipeline.serving.security.rate_limit import MINUTE_S, Allowance
from tests.support.clock import Clock


def test_the_minute_is_any_minute() -> None:
    """Three a minute at 0, 10 and 20 s: the fourth at 30 waits until the first is 60 s old."""
    clock = Clock()
    allowance = Allowance(3, 1, clock)
    for _ in range(3):
        allowance.spend()
        clock.now += 10
    with pytest.raises(TooManyRequests) as caught:
        allowance.spend()
    assert caught.value.retry_after_s == 30
    clock.now += 30
    allowance.spend()
    with pytest.raises(TooManyRequests) as caught:
        allowance.spend()
    assert caught.value.retry_after_s == 10


def test_what_is_refused_costs_nothing() -> None:
    """Refused requests do not extend the wait."""
    clock = Clock()
    allowance = Allowance(1, 1, clock)
    allowance.spend()
    for _ in range(59):
        clock.now += 1
        with pytest.raises(TooManyRequests):
            allowance.spend()
    clock.now += 1
    allowance.spend()


def test_a_batch_is_taken_whole_or_not_at_all() -> None:
    """Five a minute, three taken: three more wait, and leave room for two."""
    clock = Clock()
    allowance = Allowance(5, 1, clock)
    allowance.spend(3)
    with pytest.raises(TooManyRequests):
        allowance.spend(3)
    allowance.spend(2)


def test_a_batch_of_more_than_a_minute_is_told_so() -> None:
    """Waiting would not help."""
    with pytest.raises(ConfigError, match="6"):
        Allowance(5, 1, Clock()).spend(6)


def _wait_told(allowance: Allowance, cost: int) -> float | None:
    try:
        allowance.spend(cost)
    except TooManyRequests as refused:
        return refused.retry_after_s
    return None


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=60),
)
def test_no_minute_holds_more_than_the_limit_and_the_wait_is_exact(
    per_minute: int, requests: list[tuple[int, int]]
) -> None:
    """For any sequence; after exactly the announced wait a request is admitted."""
    clock = Clock()
    allowance = Allowance(per_minute, 1, clock)
    taken: list[float] = []
    for wait, cost in requests:
        clock.now += wait
        cost = min(cost, per_minute)
        told = _wait_told(allowance, cost)
        if told is not None:
            assert 0 < told <= MINUTE_S
            clock.now += told
            allowance.spend(cost)
        taken += [clock.now] * cost
        assert sum(clock.now - MINUTE_S < at for at in taken) <= per_minute


def test_a_slot_ends_with_its_block_however_it_ends() -> None:
    """Two at once; the third waits; an error gives its slot back."""
    allowance = Allowance(9, 2, Clock())
    with allowance.slot():
        with pytest.raises(ZeroDivisionError), allowance.slot():
            raise ZeroDivisionError
        with allowance.slot():
            with pytest.raises(TooManyRequests) as caught, allowance.slot():
                pass
            assert caught.value.retry_after_s == 1
    with allowance.slot(), allowance.slot():
        pass
