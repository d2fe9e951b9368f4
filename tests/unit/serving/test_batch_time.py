"""A batch grows where its first request costs most, and stays small where each costs the same."""

from __future__ import annotations

from collections.abc import Callable

from mrag_pipeline.serving.parts.batch_time import SHORT_S, STRETCH, BatchTime


def largest(seconds: Callable[[float], float], batches: int = 40, most: int = 16) -> int:
    """Requests of cost 1 in the last of so many batches, each as large as the time allows."""
    time, size = BatchTime(), 1
    for number in range(batches):
        size = 1
        while size < most and time.fits(1, size + 1):
            size += 1
        # A batch is not always full.
        size = 1 if number % 8 == 7 else size
        time.took(size, seconds(size))
    return size if batches % 8 else largest(seconds, batches - 1, most)


def test_batches_that_take_as_long_as_their_requests_are_not_formed() -> None:
    """A quarter of a second each: two together would keep a third waiting for half a second."""
    assert largest(lambda cost: 0.25 * cost) == 1


def test_batches_whose_first_request_costs_most_are_as_large_as_they_may_be() -> None:
    """A forward pass of a GPU, a call to a server."""
    assert largest(lambda cost: 0.25 + 0.001 * cost) == 16


def test_batches_between_take_half_as_long_again() -> None:
    """0.2 s to start and 0.05 s for each: 1.5 times 0.25 s are 3.5 requests."""
    assert largest(lambda cost: 0.2 + 0.05 * cost) == int((STRETCH * 0.25 - 0.2) / 0.05)


def test_short_batches_are_not_cut() -> None:
    """However they grow, up to a tenth of a second."""
    assert largest(lambda cost: 0.005 * cost) == 16
    assert largest(lambda cost: 0.02 * cost) == round(SHORT_S / 0.02)


def test_nothing_is_cut_before_something_is_known() -> None:
    """Nor by the first batch alone."""
    time = BatchTime()
    assert time.fits(1, 100)
    time.took(1, 1.0)
    assert time.fits(1, 100)


def test_what_is_known_is_forgotten() -> None:
    """A GPU that others use, a machine that is busy no more."""
    time = BatchTime()
    for size in (1, 2, 1, 3, 1, 2):
        time.took(size, 0.5 * size)
    assert not time.fits(1, 4)
    for size in (1, 2, 1, 3) * 15:
        time.took(size, 0.3 + 0.001 * size)
    assert time.fits(1, 16)
