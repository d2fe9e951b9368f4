"""Bounds on a mean from a sample."""

from __future__ import annotations

import numpy as np
import pytest

from mrag_pipeline.domain.confidence import mean_above, shown_by_sample, size_to_show


def test_a_sample_without_a_miss_has_the_exact_bound() -> None:
    """Clopper and Pearson: 0.01 ** (1 / n)."""
    for number in (1, 32, 459):
        assert mean_above([1.0] * number, 0.99) == pytest.approx(0.01 ** (1 / number))


def test_misses_and_small_samples_lower_it() -> None:
    """Nothing is known without a sample, and nothing good of one that found nothing."""
    assert mean_above([], 0.99) == 0.0
    assert mean_above([0.0] * 50, 0.99) == 0.0
    perfect = mean_above([1.0] * 50, 0.99)
    assert 0.0 < mean_above([1.0] * 49 + [0.5], 0.99) < perfect
    assert mean_above([1.0] * 49 + [0.0], 0.99) < mean_above([1.0] * 49 + [0.5], 0.99)


@pytest.mark.parametrize("bound", [0.5, 0.9, 0.99, 0.999])
def test_the_planned_size_shows_the_bound(bound: float) -> None:
    """So many hits show it, one fewer do not."""
    size = size_to_show(bound, 0.99)
    assert mean_above([1.0] * size, 0.99) >= bound - 1e-12
    assert size == 1 or mean_above([1.0] * (size - 1), 0.99) < bound
    assert size_to_show(0.99, 0.99) == 459


@pytest.mark.parametrize("true_mean", [0.8, 0.95, 0.99])
def test_the_bound_is_wrong_as_seldom_as_stated(true_mean: float) -> None:
    """In 4,000 samples of values in {0, 0.5, 1}, at most 5% at a confidence of 0.95."""
    missed = 1.0 - true_mean
    random = np.random.default_rng(1)
    shares = [1.0 - 1.5 * missed, missed, missed / 2]
    draws = random.choice([1.0, 0.5, 0.0], (4_000, 60), p=shares)
    wrong = np.mean([mean_above(row.tolist(), 0.95) > true_mean for row in draws])
    assert wrong <= 0.05


def test_what_a_sample_shows_is_said_in_one_line() -> None:
    """And nothing where none was drawn."""
    assert shown_by_sample(0.985, 0.99, 714) == (
        "99% sure of at least 0.985, by 714 chunks drawn at random"
    )
    assert shown_by_sample(0.985, 0.99, 714, searched=65 / 8_438) == (
        "99% sure of at least 0.985 among 0.77% of the shards, by 714 chunks drawn at random"
    )
    assert shown_by_sample(0.0, 0.99, 0) == "no chunk was looked at"
