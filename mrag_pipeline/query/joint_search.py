"""Several questions' searches of the same collection as one, each with its own answer.

A search of many vectors costs an index little more than one of few. All are searched as deep as
the deepest asks and cut: the start of a longer exact ranking is the shorter one.
Shape legend: W windows, c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrag_pipeline.ports import Ranking, Searches, SearchRequest
from mrag_pipeline.query.timing import Deadline

Batch = Sequence[SearchRequest]  # of one question
Ranked = list[Ranking | None]  # one for each request of a batch; None: not answered in time


def search_joined(index: Searches, batches: Sequence[Batch], deadline: Deadline) -> list[Ranked]:
    """The rankings of each batch, as if each were searched alone."""
    members: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for number, batch in enumerate(batches):
        for place, request in enumerate(batch):
            key = (request.collection, id(request.among))
            members.setdefault(key, []).append((number, place))
    joined = [_joined([batches[b][r] for b, r in group]) for group in members.values()]
    left = deadline.left()
    rankings: Sequence[Ranking | None]
    rankings = index.search(joined) if left is None else index.search_within(joined, left)
    ranked: list[Ranked] = [[None] * len(batch) for batch in batches]
    for group, ranking in zip(members.values(), rankings, strict=True):
        row = 0
        for number, place in group:
            request = batches[number][place]
            rows = slice(row, row + len(request.vectors))
            row = rows.stop
            if ranking is not None:
                ranked[number][place] = Ranking(
                    ranking.ids[rows, : request.limit], ranking.scores[rows, : request.limit]
                )
    return ranked


def _joined(requests: Sequence[SearchRequest]) -> SearchRequest:
    if len(requests) == 1:
        return requests[0]
    first = requests[0]
    vectors = np.concatenate([request.vectors for request in requests])
    limit = max(request.limit for request in requests)
    return SearchRequest(first.collection, vectors, limit, first.among)
