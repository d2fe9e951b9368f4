"""Measures of ranked documents as the field takes them, by trec_eval (pytrec_eval).

nDCG, recall and the reciprocal rank of the first relevant document, cut at k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytrec_eval

from mrag_pipeline.domain.evaluation import RANK_MEASURES, RankMeasure
from mrag_pipeline.domain.labelled_queries import LabelledQuery


def rank_measures(
    queries: Sequence[LabelledQuery], rankings: Sequence[Sequence[str]], k: int
) -> Mapping[RankMeasure, list[float]]:
    """Each measure of each query, in order, each from 0 to 1.

    Args:
        rankings: of each query: document ids, best first, each once.
        k: documents that count, from the first.
    """
    names = {"ndcg": f"ndcg_cut_{k}", "recall": f"recall_{k}", "mrr": "recip_rank"}
    judged = {str(number): dict(query.relevant()) for number, query in enumerate(queries)}
    evaluator = pytrec_eval.RelevanceEvaluator(
        judged, {f"ndcg_cut.{k}", f"recall.{k}", "recip_rank"}
    )
    # trec_eval orders by score, and equal scores by name: so no two are equal.
    run = {
        str(number): {document: float(k - rank) for rank, document in enumerate(ranking[:k])}
        for number, ranking in enumerate(rankings)
    }
    results = evaluator.evaluate(run)
    nothing = dict.fromkeys(names.values(), 0.0)  # for a query that found no document
    return {
        measure: [results.get(query, nothing)[names[measure]] for query in judged]
        for measure in RANK_MEASURES
    }
