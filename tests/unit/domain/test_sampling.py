"""Chunks drawn at random, and what they say of all."""

from __future__ import annotations

import numpy as np
import pytest

from mrag_pipeline.domain.sampling import damaged_share_below, sampled_places

IDS = np.arange(1_000, dtype=np.int64)


def test_a_sample_has_each_id_once() -> None:
    """As many as were asked for, or all; the same seed draws the same."""
    drawn = sampled_places(len(IDS), 100, seed=1)
    assert len(np.unique(drawn)) == 100
    assert (drawn == sampled_places(len(IDS), 100, seed=1)).all()
    assert (drawn != sampled_places(len(IDS), 100, seed=2)).any()
    assert (sampled_places(len(IDS), 5_000, seed=1) == IDS).all()


def test_the_bound_is_the_rule_of_three() -> None:
    """3,000 draws without a damaged chunk: under 0.1% at 95%."""
    assert damaged_share_below(3_000, 10**7, 0.95) == pytest.approx(0.001, rel=0.01)
    assert damaged_share_below(0, 10, 0.95) == 1.0
    assert damaged_share_below(10, 10, 0.95) == 0.0


def test_the_bound_holds_as_often_as_it_says() -> None:
    """Where just more than the bound is damaged, a sample misses it in 5% of draws at most."""
    share = damaged_share_below(100, len(IDS), 0.95)
    damaged = IDS[: int(np.ceil(share * len(IDS)))]
    draws = (sampled_places(len(IDS), 100, seed) for seed in range(1_000))
    missed = sum(not np.isin(damaged, IDS[places]).any() for places in draws)
    assert missed <= 65  # 50 expected, with three standard deviations
