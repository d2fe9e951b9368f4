"""Whose turn it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mrag_pipeline.serving.parts.fair_queue import FairQueue


def taken(queue: FairQueue[str]) -> str:
    return "".join(queue.take() for _ in range(len(queue)))


def test_flows_are_served_in_turn() -> None:
    """However much one of them has put in before."""
    queue: FairQueue[str] = FairQueue()
    for letter in "aaaa":
        queue.put(letter, "a", 1)
    queue.put("b", "b", 1)
    queue.put("b", "b", 1)
    assert taken(queue) == "ababaa"


def test_dear_work_waits_as_long_as_it_takes() -> None:
    """One flow's entries cost three times as much: the other has three for each."""
    queue: FairQueue[str] = FairQueue()
    for letter in "aaabbbbbb":
        queue.put(letter, letter, 3 if letter == "a" else 1)
    assert taken(queue) == "abbbabbba"


def test_who_comes_late_is_next_and_has_nothing_saved_up() -> None:
    """A flow that was idle starts now, not in its past."""
    queue: FairQueue[str] = FairQueue()
    for letter in "aaaaaa":
        queue.put(letter, "a", 1)
    assert [queue.take() for _ in range(3)] == ["a"] * 3
    for letter in "bbb":
        queue.put(letter, "b", 1)
    assert taken(queue) == "bababa"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.booleans()), max_size=300))
def test_everything_comes_out_once_and_in_order_within_its_flow(
    puts: list[tuple[str, int, bool]],
) -> None:
    """Whatever is put and taken in between."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    out: list[tuple[str, int]] = []
    for number, (flow, cost, is_taken) in enumerate(puts):
        queue.put((flow, number), flow, cost)
        assert queue.next_cost() >= 1
        if is_taken:
            out.append(queue.take())
    out += [queue.take() for _ in range(len(queue))]
    assert sorted(number for _, number in out) == list(range(len(puts)))
    for flow in "abc":
        own = [number for name, number in out if name == flow]
        assert own == sorted(own)
