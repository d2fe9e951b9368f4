"""Third step: several questions' searches of a collection run as one; each gets its own rankings.

Searching many vectors at once costs an index little more than searching few. All are searched to
the greatest depth and cut: the start of a longer exact ranking is the shorter one.
Shape legend: W windows, c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

from mrag_pipeline.ports import AnySearchRequest, Ranking, Searches
from mrag_pipeline.query.timing import Deadline

Batch = Sequence[AnySearchRequest]  # of one question
Ranked = list[Ranking | None]  # one for each request of a batch; None: not answered in time


def search_joined(index: Searches, batches: Sequence[Batch], deadline: Deadline) -> list[Ranked]:
    """The rankings of each batch, as if each were searched alone."""
    members: dict[tuple[str, int], list[tuple[int, int]]] = {}  # (batch, request in it)
    for batch_index, batch in enumerate(batches):
        for request_index, request in enumerate(batch):
            key = (request.collection, id(request.among))
            members.setdefault(key, []).append((batch_index, request_index))
    joined = [_joined([batches[b][r] for b, r in group]) for group in members.values()]
    seconds = deadline.seconds_left()
    rankings: Sequence[Ranking | None]
    rankings = index.search(joined) if seconds is None else index.search_within(joined, seconds)
    ranked: list[Ranked] = [[None] * len(batch) for batch in batches]
    for group, ranking in zip(members.values(), rankings, strict=True):
        row = 0
        for batch_index, request_index in group:
            request = batches[batch_index][request_index]
            rows = slice(row, row + request.num_queries)
            row = rows.stop
            if ranking is not None:
                ranked[batch_index][request_index] = Ranking(
                    ranking.ids[rows, : request.limit], ranking.scores[rows, : request.limit]
                )
    return ranked


def _joined(requests: Sequence[AnySearchRequest]) -> AnySearchRequest:
    """One request for all these queries, as deep as the deepest."""
    first, *others = requests
    # All of one collection, so all of one kind.
    return first.joined(others) if others else first  # type: ignore[arg-type]
