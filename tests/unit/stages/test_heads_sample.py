"""A sample of ids that the seed alone decides."""

from __future__ import annotations

import numpy as np

from mrag_pipeline.stages.heads.sample import sampled_ids

IDS = np.random.default_rng(0).integers(1, 2**63 - 1, 5_000)


def test_the_order_of_the_blocks_does_not_count() -> None:
    """A store may list its rows in any order, and in blocks of any size."""
    shuffled = np.random.default_rng(1).permutation(IDS)
    sampled = sampled_ids([IDS], 100, 7)
    assert len(sampled) == 100
    assert sampled.tolist() == sampled_ids(np.array_split(shuffled, 13), 100, 7).tolist()


def test_another_seed_is_another_sample() -> None:
    """Two of 100 in 5,000 share about 2."""
    assert len(np.intersect1d(sampled_ids([IDS], 100, 0), sampled_ids([IDS], 100, 1))) < 15


def test_versions_that_share_chunks_share_sampled_ones() -> None:
    """Nine of ten chunks stay: about nine of ten sampled ones do."""
    shared = np.intersect1d(sampled_ids([IDS], 200, 0), sampled_ids([IDS[500:]], 200, 0))
    assert len(shared) > 150


def test_neighbouring_ids_are_sampled_evenly() -> None:
    """Ids that count from 1 are as good as hashes."""
    sampled = sampled_ids([np.arange(10_000)], 1_000, 0)
    assert abs(sampled.mean() - 5_000) < 300


def test_a_small_version_is_taken_whole() -> None:
    """All of three ids; none of none."""
    assert sampled_ids([np.array([5, 3, 9])], 100, 0).tolist() == [3, 5, 9]
    assert sampled_ids([], 100, 0).tolist() == []
