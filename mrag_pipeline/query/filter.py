"""Fourth step: rankings of the matching chunks alone, though head collections hold no metadata.

Three exact ways, cheapest first; docs/decisions/0030 has the proof:
1. Few chunks match: only their ids are searched.
2. Many match: a longer ranking is searched and hits that do not match are left out; a longer one
   again until enough match or the collection is exhausted.
3. An index limits the length of a ranking: all matching ids are searched in blocks, and merged.
Shape legend: W windows, c hits per ranking.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.exact_search import Hits, merge
from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.ports import AnySearchRequest, QueryIndex, Ranking
from mrag_pipeline.query.joint_search import Batch, Ranked, search_joined
from mrag_pipeline.query.timing import Deadline
from mrag_pipeline.settings.filtering import FilterSpec

# A search among M ids costs a server as much as one M / 5 hits deep (measured on 2.3.5), and with
# M of N chunks matching, c matching hits lie c N / M deep: both cost the same at M^2 = 5 c N.
_IDS_PER_HIT = 5

_Rows = NDArray[np.intp]  # of one request's W windows


def search_filtered(
    index: QueryIndex,
    chunks_collection: str,
    num_chunks: int,
    wanted: Filter,
    batches: Sequence[Batch],
    deadline: Deadline,
    spec: FilterSpec,
    search: Callable[[Sequence[Batch]], list[Ranked]] | None = None,
) -> list[Ranked]:
    """The rankings of each batch, as if the index held the matching chunks alone.

    Args:
        chunks_collection: the collection that knows which chunks match.
        num_chunks: about how many it has; affects the cost, not the answer.
        search: searches the batches where only few chunks match; None: `search_joined`.
    """
    depth = max(request.limit for batch in batches for request in batch)
    few = min(spec.most_ids, max(spec.few_ids, math.isqrt(_IDS_PER_HIT * depth * num_chunks)))
    ids = index.matching(chunks_collection, wanted, limit=few + 1)
    if not len(ids):
        return [[request.nothing() for request in batch] for batch in batches]
    if len(ids) <= few:
        among = _among(batches, ids)
        return search(among) if search else search_joined(index, among, deadline)
    return _LongerRankings(index, chunks_collection, wanted, deadline, spec).search(batches)


class _LongerRankings:
    """Searches longer and longer rankings, until each row has its c matching hits."""

    def __init__(
        self,
        index: QueryIndex,
        chunks_collection: str,
        wanted: Filter,
        deadline: Deadline,
        spec: FilterSpec,
    ) -> None:
        self._index = index
        self._chunks_collection = chunks_collection
        self._wanted = wanted
        self._deadline = deadline
        self._spec = spec
        self._max_hits = index.capabilities().max_hits
        if spec.max_hits is not None:
            self._max_hits = min(self._max_hits, spec.max_hits)
        self._matching: set[int] = set()
        self._checked: set[int] = set()

    def search(self, batches: Sequence[Batch]) -> list[Ranked]:
        """All batches' rankings; None for what was not answered in time."""
        requests = [request for batch in batches for request in batch]
        rankings: Ranked = [request.nothing() for request in requests]
        # By request: the rows that still have fewer than c matching hits.
        lacking = {
            number: np.arange(request.num_queries) for number, request in enumerate(requests)
        }
        factor = self._spec.first_depth
        is_longest = False
        while lacking and not is_longest:
            longer = {
                number: replace(
                    requests[number].rows(rows),
                    limit=min(requests[number].limit * factor, self._max_hits),
                )
                for number, rows in lacking.items()
            }
            lacking = self._search_longer(longer, lacking, rankings)
            is_longest = all(request.limit == self._max_hits for request in longer.values())
            factor *= 2
        if lacking:
            self._search_in_blocks(requests, lacking, rankings)
        ordered = iter(rankings)
        return [[next(ordered) for _ in batch] for batch in batches]

    def _search_longer(
        self, longer: Mapping[int, AnySearchRequest], lacking: Mapping[int, _Rows], rankings: Ranked
    ) -> dict[int, _Rows]:
        """Searches once more; fills `rankings` and returns the rows that still lack hits."""
        [ranked] = search_joined(self._index, [list(longer.values())], self._deadline)
        self._check([ranking.ids for ranking in ranked if ranking is not None])
        still_lacking: dict[int, _Rows] = {}
        for (number, rows), longer_ranking in zip(lacking.items(), ranked, strict=True):
            ranking = rankings[number]
            if longer_ranking is None or ranking is None:
                rankings[number] = None
                continue
            short = [
                row
                for row, ids, scores in zip(
                    rows.tolist(), longer_ranking.ids, longer_ranking.scores, strict=True
                )
                if not self._fill_row(ranking, row, ids, scores)
            ]
            if short:
                still_lacking[number] = np.array(short, np.intp)
        return still_lacking

    def _check(self, rankings: Sequence[NDArray[np.int64]]) -> None:
        """Asks the index which of the chunks not seen before match."""
        seen = {int(chunk_id) for ids in rankings for chunk_id in np.unique(ids)} - {-1}
        unchecked = sorted(seen - self._checked)
        if unchecked:
            matching = self._index.matching(self._chunks_collection, self._wanted, unchecked)
            self._matching.update(matching.tolist())
            self._checked.update(unchecked)

    def _fill_row(
        self, ranking: Ranking, row: int, ids: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> bool:
        """Writes the matching hits into the row; whether the row is complete."""
        limit = ranking.ids.shape[1]
        ranks = [rank for rank, chunk_id in enumerate(ids.tolist()) if chunk_id in self._matching]
        ranks = ranks[:limit]
        ranking.ids[row, : len(ranks)] = ids[ranks]
        ranking.scores[row, : len(ranks)] = scores[ranks]
        return len(ranks) == limit or bool((ids < 0).any())

    def _search_in_blocks(
        self, requests: Sequence[AnySearchRequest], lacking: Mapping[int, _Rows], rankings: Ranked
    ) -> None:
        """Searches among all matching ids in blocks of `most_ids`, and merges the blocks."""
        ids = self._index.matching(self._chunks_collection, self._wanted)
        remaining = [requests[number].rows(rows) for number, rows in lacking.items()]
        blocks_of: list[list[Hits]] = [[] for _ in remaining]
        for start in range(0, len(ids), self._spec.most_ids):
            block_ids = ids[start : start + self._spec.most_ids]
            [ranked] = search_joined(self._index, _among([remaining], block_ids), self._deadline)
            for blocks, block_ranking in zip(blocks_of, ranked, strict=True):
                if block_ranking is not None:
                    blocks.append(Hits(block_ranking.ids, block_ranking.scores))
        num_blocks = -(-len(ids) // self._spec.most_ids)
        for (number, rows), blocks in zip(lacking.items(), blocks_of, strict=True):
            ranking = rankings[number]
            if ranking is None or len(blocks) < num_blocks:
                rankings[number] = None
                continue
            merged = merge(blocks, requests[number].limit)
            ranking.ids[rows], ranking.scores[rows] = merged.ids, merged.scores


def _among(batches: Sequence[Batch], ids: NDArray[np.int64]) -> list[Batch]:
    return [[replace(request, among=ids) for request in batch] for batch in batches]
