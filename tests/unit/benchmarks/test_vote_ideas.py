"""The bounds by which heads could be left out, and the tables of what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mrag_pipeline.domain.vote_spec import VoteSpec
from mrag_pipeline.domain.voting import _choose

ROOT = Path(__file__).parents[3]

with pytest.MonkeyPatch.context() as patch:  # its scripts are run, so it is no package of ours
    patch.syspath_prepend(str(ROOT / "benchmarks"))
    from vote_stop import is_proven
    from vote_tables import tables

SPEC = VoteSpec(power=4.0, coverage=0.5)


def first(votes: np.ndarray, k: int) -> list[int]:
    """The k documents that the vote chooses."""
    return [document for document, _ in _choose(votes, np.arange(len(votes)), SPEC, k)]


@pytest.mark.parametrize("num_windows", [1, 3])
def test_what_is_proven_stays_whatever_is_still_to_come(num_windows: int) -> None:
    """Random votes: each voter that is left may give a document anything up to its weight."""
    random = np.random.default_rng(num_windows)
    num_proven = 0
    for _ in range(300):
        low = random.exponential(1.0, (8, num_windows)) ** 2
        rest = random.uniform(0.0, 0.3, num_windows)
        k = int(random.integers(1, 4))
        order = first(low, len(low))
        low = low[order]
        if not is_proven(low, rest, k, SPEC.power, SPEC.coverage):
            continue
        num_proven += 1
        for _ in range(20):
            final = low + rest * random.integers(0, 2, low.shape)
            assert first(final, k) == list(range(k))
    assert num_proven > 30


def test_a_document_that_no_voter_has_found_yet_counts() -> None:
    """It can still get all that is left."""
    assert is_proven(np.array([[1.0], [0.1]]), np.array([0.5]), 1, 4.0, 0.5)
    assert not is_proven(np.array([[1.0], [0.1]]), np.array([1.0]), 1, 4.0, 0.5)


def test_the_tables_of_the_decision() -> None:
    """Those of benchmarks/figures/vote_ideas.json."""
    figures = json.loads((ROOT / "benchmarks/figures/vote_ideas.json").read_text())
    [page] = (ROOT / "docs/decisions").glob("0128-*.md")
    text = page.read_text("utf-8")
    for table in tables(figures):
        assert table in text, table.partition("\n")[0]
