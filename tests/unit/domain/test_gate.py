"""The gate's verdict on figures alone."""

from __future__ import annotations

import pytest

from mrag_pipeline.domain.gate import GateComparison, judge
from mrag_pipeline.domain.success import Interval
from mrag_pipeline.settings.gate import GateSpec

SPEC = GateSpec(max_fall=0.05, min_overlap=0.5, max_fewer_documents=0.5)


@pytest.mark.parametrize(
    ("new", "live", "success", "overlap", "reason"),
    [
        (100, 100, 0.80, 0.9, ""),
        (100, 100, 0.75, 0.9, ""),
        (100, 100, 0.74, 0.9, "success ratio 0.740 against 0.800"),
        (100, 100, 0.90, 0.5, ""),
        (100, 100, 0.90, 0.49, "49.0% of the live version's documents"),
        (50, 100, 0.80, 0.9, ""),
        (49, 100, 0.80, 0.9, "49 documents, the live version has 100"),
    ],
)
def test_a_fall_beyond_its_tolerance_closes_the_gate(
    new: int, live: int, success: float, overlap: float, reason: str
) -> None:
    """At the tolerance it is open; beyond it, the reason gives the figures."""
    verdict = judge(SPEC, new, live, [GateComparison(10, 0.80, success, overlap)])
    assert verdict.is_open == (reason == "")
    assert reason in "; ".join(verdict.reasons)


def test_without_queries_only_the_size_counts() -> None:
    """Without a comparison of answers there is no other reason to close it."""
    assert judge(SPEC, 100, 100, []).is_open
    assert not judge(SPEC, 10, 100, []).is_open
    assert judge(SPEC, 10, 0, []).is_open


@pytest.mark.parametrize(("high", "is_open"), [(-0.01, False), (0.01, True)])
def test_made_questions_close_it_only_if_the_fall_is_clear(high: float, is_open: bool) -> None:
    """Few artificial questions: their interval has to leave zero out."""
    made = GateComparison(60, 0.80, 0.70, 0.9, Interval(-0.10, -0.20, high))
    verdict = judge(SPEC, 100, 100, [made])
    assert verdict.is_open == is_open
    assert is_open or "60 questions made from the documents" in verdict.reasons[0]


def test_a_fall_by_any_strategy_closes_it() -> None:
    """The reason names the strategy; documents found again count for the settings' own alone."""
    same = GateComparison(60, 0.80, 0.80, 0.9, Interval(0.0, -0.01, 0.01))
    worse = GateComparison(60, 0.80, 0.70, 0.1, Interval(-0.10, -0.20, -0.05), "standard")
    verdict = judge(SPEC, 100, 100, [same, worse])
    assert len(verdict.reasons) == 1
    assert "success ratio by standard 0.700 against 0.800" in verdict.reasons[0]
