"""Third step where vectors are in memory: only windows that count are searched by every voter.

The standard vector is searched first. By its best hits the gate decides how much each window
counts (`domain/voting.py`). Where that is 0, the hits of other voters change nothing in the
answer and are not searched for. On a store, a second round of calls would cost more than this
saves (docs/decisions/0128).
Shape legend: W windows, n of them that count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.vote_spec import STANDARD
from mrag_pipeline.ports import Ranking, Searches
from mrag_pipeline.query.joint_search import Batch, Ranked, search_joined
from mrag_pipeline.query.plan import SearchPlan
from mrag_pipeline.query.timing import Deadline
from mrag_pipeline.query.vote import weigh_windows


def search_gated(
    index: Searches, plans: Sequence[SearchPlan], batches: Sequence[Batch], deadline: Deadline
) -> list[Ranked]:
    """As `search_joined`; in a window that does not count, only the standard vector has hits.

    Args:
        batches: of each plan, the requests of its voters, in their order.
    """
    places = [_place_of_standard(plan) for plan in plans]
    standard = [batch[at : at + 1] for batch, at in zip(batches, places, strict=True)]
    nearest = search_joined(index, standard, deadline)
    counting = [_counting(plan, *ranked) for plan, ranked in zip(plans, nearest, strict=True)]
    others = [
        [request.rows(windows) for request in (*batch[:at], *batch[at + 1 :])]
        for batch, at, windows in zip(batches, places, counting, strict=True)
    ]
    found = search_joined(index, others, deadline)
    ranked = []
    for plan, at, of_standard, of_others, windows in zip(
        plans, places, nearest, found, counting, strict=True
    ):
        num_windows = len(plan.question.embedded.windows)
        spread = [_spread(ranking, windows, num_windows) for ranking in of_others]
        ranked.append([*spread[:at], *of_standard, *spread[at:]])
    return ranked


def _place_of_standard(plan: SearchPlan) -> int:
    """Where the standard vector stands among the voters; after the last if it does not vote."""
    names = plan.voters.names
    return names.index(STANDARD) if STANDARD in names else len(names)


def _counting(plan: SearchPlan, standard: Ranking | None = None) -> NDArray[np.intp]:
    """(n,) the windows that all voters search, rising.

    All of them where each window's passage is wanted: the voters' hits choose it.
    """
    weights = weigh_windows(plan, standard)
    if weights is None or plan.question.passages:
        return np.arange(len(plan.question.embedded.windows))
    return np.flatnonzero(weights)


def _spread(ranking: Ranking | None, windows: NDArray[np.intp], num_windows: int) -> Ranking | None:
    """The ranking of all W windows from that of n; the others have no hits."""
    if ranking is None:
        return None
    spread = Ranking.nothing(num_windows, ranking.ids.shape[1])
    spread.ids[windows], spread.scores[windows] = ranking.ids, ranking.scores
    return spread
