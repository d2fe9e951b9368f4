"""Decides whether a new version is good enough to replace the live one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrag_pipeline.domain.success import Interval
from mrag_pipeline.settings.gate import GateSpec


@dataclass(frozen=True, slots=True)
class GateComparison:
    """What queries found in both versions by one strategy."""

    num_queries: int
    live_success: float  # mean success ratio, as many documents fetched as aspects
    new_success: float
    overlap: float  # mean over queries
    # New minus live, 95%, if the questions were made from the documents: they are too few and too
    # artificial for a small difference to count. None: somebody's labelled queries.
    made_difference: Interval | None = None
    strategy: str = ""  # "": the settings' own


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate compared, and the reasons if it stays closed."""

    new_documents: int
    live_documents: int
    comparisons: tuple[GateComparison, ...]  # the settings' strategy first; none without queries
    reasons: tuple[str, ...]  # empty: it opens

    @property
    def is_open(self) -> bool:
        """Whether the new version may become live."""
        return not self.reasons


def judge(
    spec: GateSpec,
    new_documents: int,
    live_documents: int,
    comparisons: Sequence[GateComparison],
) -> Verdict:
    """The verdict, from the figures alone."""
    reasons = []
    if live_documents - new_documents > spec.max_fewer_documents * live_documents:
        reasons.append(
            f"it has {new_documents:,} documents, the live version has {live_documents:,} "
            f"(gate.max_fewer_documents = {spec.max_fewer_documents})"
        )
    for compared in comparisons:
        fall = compared.live_success - compared.new_success
        made = compared.made_difference
        if fall > spec.max_fall + 1e-12 and (made is None or made.high < 0.0):
            kind = "queries" if made is None else "questions made from the documents"
            interval = "" if made is None else f", 95% [{made.low:+.3f}, {made.high:+.3f}]"
            by = f" by {compared.strategy}" if compared.strategy else ""
            reasons.append(
                f"success ratio{by} {compared.new_success:.3f} against {compared.live_success:.3f} "
                f"on {compared.num_queries} {kind} (gate.max_fall = {spec.max_fall}{interval})"
            )
    for compared in comparisons[:1]:
        if compared.overlap < spec.min_overlap - 1e-12:
            reasons.append(
                f"{compared.overlap:.1%} of the live version's documents are found again "
                f"(gate.min_overlap = {spec.min_overlap})"
            )
    return Verdict(new_documents, live_documents, tuple(comparisons), tuple(reasons))
