"""A small evaluation made by hand, for the tests of what is written of it."""

from __future__ import annotations

from dataclasses import replace

from mrag_pipeline.domain.evaluation import (
    Evaluation,
    Example,
    RerankCost,
    RerankGain,
    Subject,
    WindowVote,
    curve_of,
    figures_of,
    gains_of,
)
from mrag_pipeline.domain.labelled_queries import Aspect, LabelledQuery, LabelledSet, flaw

LABELLED = LabelledSet(
    "toy",
    (
        LabelledQuery("one", (Aspect(frozenset("a"), "a", "A"),), 1),
        LabelledQuery(
            "two", (Aspect(frozenset("b"), "b", "B"), Aspect(frozenset("c"), "c", "C")), 2
        ),
    ),
    "an aspect is found when its article is fetched",
    {"a": "A", "b": "B", "c": "C", "x": "X"},
    flaw("topics without a file", ["lost | topic"]),
)
RANKINGS = {"standard": [["x", "a"], ["b", "x", "c"]], "aspect": [["a", "x"], ["b", "c", "x"]]}
EXAMPLE = Example(
    "what costs $5 and $6?",
    "aspect",
    ("l05_h00", "standard"),
    (WindowVote("what costs $5", (0.5, 0.1)), WindowVote("and $6?", (0.2, 0.2))),
    ("b", "c"),
)


def evaluation(
    ks: tuple[str, ...] = ("n", "3"), by_aspects: bool = True, is_reranked: bool = False
) -> Evaluation:
    """Standard finds none of one and one of two at k = n, aspect everything.

    Reranked, each finds everything.
    """
    labelled = replace(LABELLED, by_aspects=by_aspects)
    subject = Subject(
        "toy", LABELLED.relevance, 2, {1: 1, 2: 1}, LABELLED.flaws, "toy_index", "v0", "tiny", 4, 9
    )
    return Evaluation(
        subject=subject,
        strategies=tuple(RANKINGS),
        ks=ks,
        figures=figures_of(labelled, RANKINGS, ks),
        curves={name: curve_of(labelled, ranked, [1, 2, 3]) for name, ranked in RANKINGS.items()},
        importance={"l05_h00": 1.5, "l05_h01": 0.5},
        examples=(EXAMPLE,),
        reranking=_gain(labelled, ks) if is_reranked else None,
    )


def _gain(labelled: LabelledSet, ks: tuple[str, ...]) -> RerankGain:
    reranked = {name: [["a"], ["b", "c"]] for name in RANKINGS}
    costs = {"standard": RerankCost(50.0, 412.5), "aspect": RerankCost(48.5, 400.1)}
    return RerankGain("judge-v1", gains_of(labelled, RANKINGS, reranked, ks), costs)
