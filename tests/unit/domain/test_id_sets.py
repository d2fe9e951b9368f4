"""Sums by which sets of ids are compared."""

from __future__ import annotations

import numpy as np

from mrag_pipeline.domain.id_sets import IdSum, text_key


def test_the_order_of_ids_does_not_matter() -> None:
    """In blocks or at once, in any order."""
    ids = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 1_000)
    parts = IdSum.of(ids[600:][::-1]) + IdSum.of(ids[:600])
    assert parts == IdSum.of(ids) == IdSum() + IdSum.of(ids)


def test_another_set_has_another_sum() -> None:
    """One id more, one less, one twice in another's place, two that keep the plain sum."""
    ids = np.arange(100)
    others = [
        np.arange(101),
        np.arange(99),
        np.append(ids[:-1], 0),
        np.append(ids[2:], [-1, 2]),
        np.append(ids[2:], [1, 1]),
    ]
    assert all(IdSum.of(other) != IdSum.of(ids) for other in others)


def test_an_id_that_is_no_unicode_has_a_key() -> None:
    """File names may be such."""
    assert text_key("\udcff") != text_key("a")
