"""The documents that a question's votes choose, over all its windows at once or window by window.

Shape legend: V voters, W windows, c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.voting import Hit, WeightedRankings, choose_documents, fuse


def chosen_documents(
    chosen: Strategy,
    ballots: WeightedRankings,
    documents: Mapping[int, str],
    gone: set[int],
    k: int,
    depth: int,
) -> list[Hit]:
    """The k best documents, or as many as were found.

    Args:
        ballots: (V, W, c).
        documents: of the chunks that may be elected.
        gone: chunks that do not exist any more: the ranks below them close up.
        depth: documents of each window that a fusing strategy fuses.
    """
    if not chosen.is_fused:
        return choose_documents(ballots, documents, chosen.vote, k, gone)
    alone = []
    for window in range(ballots.ids.shape[1]):
        at = slice(window, window + 1)
        one = WeightedRankings(ballots.ids[:, at], ballots.scores[:, at], ballots.weights)
        alone.append(choose_documents(one, documents, chosen.vote, k, gone))
    return _fused(alone, len(ballots.weights), depth)[:k]


def _fused(alone: Sequence[Sequence[Hit]], num_voters: int, depth: int) -> list[Hit]:
    """One list of hits from each window's own, by reciprocal rank fusion."""
    by_document: list[dict[str, Hit]] = [{hit.document_id: hit for hit in hits} for hits in alone]
    fused = []
    for document, vote in fuse([list(hits) for hits in by_document], depth):
        parts = np.zeros((num_voters, len(alone)))
        chunk_ids: dict[int, None] = {}
        for window, hits in enumerate(by_document):
            if document in hits:
                parts[:, window] = hits[document].parts[:, 0]
                chunk_ids.update(dict.fromkeys(hits[document].chunk_ids))
        fused.append(Hit(document, tuple(chunk_ids), vote, vote, parts))
    return fused
