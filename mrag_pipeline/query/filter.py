"""Rankings of the matching chunks alone, though head collections know nothing of documents.

Three exact ways, cheapest first; docs/decisions/0030 has the proof:
1. Few chunks match: only their ids are searched.
2. Many match: a longer ranking is searched and what does not match is left out, longer again
   until enough is left or the collection is at its end.
3. An index answers only so long a ranking: all matching ids are searched in blocks, and merged.
Shape legend: W windows, c hits per ranking.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.exact_search import Hits, merge
from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.ports import QueryIndex, Ranking, SearchRequest
from mrag_pipeline.query.joint_search import Batch, Ranked, search_joined
from mrag_pipeline.query.timing import Deadline
from mrag_pipeline.settings.retrieve import FilterSpec

# A search among M ids costs a server as much as one M / 5 hits deep (measured on 2.3.5), and with
# M of N chunks matching, c matching hits lie c N / M deep: both cost the same at M^2 = 5 c N.
_IDS_PER_HIT = 5

_Rows = NDArray[np.intp]  # of one request's W windows


def search_filtered(
    index: QueryIndex,
    texts: str,
    num_chunks: int,
    wanted: Filter,
    batches: Sequence[Batch],
    deadline: Deadline,
    spec: FilterSpec,
) -> list[Ranked]:
    """The rankings of each batch, as if the index held the matching chunks alone.

    Args:
        texts: the chunks collection, which knows what matches.
        num_chunks: about how many it has; no answer depends on it.
    """
    depth = max(request.limit for batch in batches for request in batch)
    few = min(spec.most_ids, max(spec.few_ids, math.isqrt(_IDS_PER_HIT * depth * num_chunks)))
    ids = index.matching(texts, wanted, limit=few + 1)
    if not len(ids):
        return [[_nothing(request) for request in batch] for batch in batches]
    if len(ids) <= few:
        return search_joined(index, _among(batches, ids), deadline)
    return _Longer(index, texts, wanted, deadline, spec).search(batches)


class _Longer:
    """Longer and longer rankings of all requests, until each row has its c matching hits."""

    def __init__(
        self, index: QueryIndex, texts: str, wanted: Filter, deadline: Deadline, spec: FilterSpec
    ) -> None:
        self._index = index
        self._texts = texts
        self._wanted = wanted
        self._deadline = deadline
        self._spec = spec
        self._matching: set[int] = set()
        self._judged: set[int] = set()

    def search(self, batches: Sequence[Batch]) -> list[Ranked]:
        """All batches' rankings; None for what was not answered in time."""
        requests = [request for batch in batches for request in batch]
        kept: Ranked = [_nothing(request) for request in requests]
        lacking = {at: np.arange(len(one.vectors)) for at, one in enumerate(requests)}
        depth = self._spec.first_depth
        at_the_cap = False
        while lacking and not at_the_cap:
            longer = {
                at: replace(
                    requests[at],
                    vectors=requests[at].vectors[rows],
                    limit=min(requests[at].limit * depth, self._spec.most_hits),
                )
                for at, rows in lacking.items()
            }
            lacking = self._widen(longer, lacking, kept)
            at_the_cap = all(one.limit == self._spec.most_hits for one in longer.values())
            depth *= 2
        if lacking:
            self._in_blocks(requests, lacking, kept)
        each = iter(kept)
        return [[next(each) for _ in batch] for batch in batches]

    def _widen(
        self, longer: Mapping[int, SearchRequest], lacking: Mapping[int, _Rows], kept: Ranked
    ) -> dict[int, _Rows]:
        """Searches once more; fills `kept` and returns the rows that still lack hits."""
        [found] = search_joined(self._index, [list(longer.values())], self._deadline)
        self._judge([ranking.ids for ranking in found if ranking is not None])
        still: dict[int, _Rows] = {}
        for (at, rows), ranking in zip(lacking.items(), found, strict=True):
            mine = kept[at]
            if ranking is None or mine is None:
                kept[at] = None
                continue
            short = [
                row
                for place, row in enumerate(rows.tolist())
                if not self._keep(mine, row, ranking.ids[place], ranking.scores[place])
            ]
            if short:
                still[at] = np.array(short, np.intp)
        return still

    def _judge(self, rankings: Sequence[NDArray[np.int64]]) -> None:
        seen = {int(one) for ids in rankings for one in np.unique(ids)} - {-1}
        new = sorted(seen - self._judged)
        if new:
            matching = self._index.matching(self._texts, self._wanted, new)
            self._matching.update(matching.tolist())
            self._judged.update(new)

    def _keep(
        self, kept: Ranking, row: int, ids: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> bool:
        """Puts the matching hits in place; whether no more can come."""
        places = [at for at, one in enumerate(ids.tolist()) if one in self._matching]
        places = places[: kept.ids.shape[1]]
        kept.ids[row, : len(places)] = ids[places]
        kept.scores[row, : len(places)] = scores[places]
        return len(places) == kept.ids.shape[1] or bool((ids < 0).any())

    def _in_blocks(
        self, requests: Sequence[SearchRequest], lacking: Mapping[int, _Rows], kept: Ranked
    ) -> None:
        """Searches among all matching ids, so many at once, and merges the blocks."""
        ids = self._index.matching(self._texts, self._wanted)
        left = [replace(requests[at], vectors=requests[at].vectors[r]) for at, r in lacking.items()]
        parts: list[list[Hits]] = [[] for _ in left]
        for start in range(0, len(ids), self._spec.most_ids):
            among = ids[start : start + self._spec.most_ids]
            [found] = search_joined(self._index, _among([left], among), self._deadline)
            for part, ranking in zip(parts, found, strict=True):
                if ranking is not None:
                    part.append(Hits(ranking.ids, ranking.scores))
        num_blocks = -(-len(ids) // self._spec.most_ids)
        for (at, rows), part in zip(lacking.items(), parts, strict=True):
            mine = kept[at]
            if mine is None or len(part) < num_blocks:
                kept[at] = None
                continue
            merged = merge(part, requests[at].limit)
            mine.ids[rows], mine.scores[rows] = merged.ids, merged.scores


def _among(batches: Sequence[Batch], ids: NDArray[np.int64]) -> list[Batch]:
    return [[replace(request, among=ids) for request in batch] for batch in batches]


def _nothing(request: SearchRequest) -> Ranking:
    shape = (len(request.vectors), request.limit)
    return Ranking(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
