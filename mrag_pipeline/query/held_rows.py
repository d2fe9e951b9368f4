"""The rows of one collection in memory, compared with queries by products of matrices.

Shape legend: N rows in B blocks of b, D dimension, W queries, c hits per ranking, M wanted rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.ports import Ranking

_BLOCK_NUMBERS = 2**20  # scores computed at a time: 4 MB stay in the cores' caches
# Rows in a block: small products are made without copying their factors first, in a third of the
# time for a few queries.
_ROWS = 128
_GROUP = 16  # rows whose greatest score stands for them when the last place is looked for
_DECIMALS = 6  # of a score; the digits below depend on the order of additions
# If more than one row in so many is wanted, comparing all is cheaper than copying those.
_COPIED_SHARE = 50
_NOTHING = np.float32(np.finfo(np.float32).min)  # lower than any score, higher than -inf


@dataclass(frozen=True, slots=True, eq=False)
class HeldRows:
    """The rows of one collection. Threads may share it once it is full."""

    ids: NDArray[np.int64]  # (N,), rising
    # (B, D, b), the last block filled up with zeros; of unit length.
    blocks: NDArray[np.float32]
    has: NDArray[np.bool_]  # (N,): which rows are there

    @classmethod
    def empty(cls, ids: NDArray[np.int64], dim: int) -> HeldRows:
        """Room for those rows: (N,) ids, rising."""
        num_blocks = -(-len(ids) // _ROWS)
        blocks = np.zeros((num_blocks, dim, _ROWS), np.float32)
        return cls(ids, blocks, np.zeros(len(ids), bool))

    def put(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> bool:
        """Takes (n, D) vectors in; False and nothing if one is of another row."""
        places = np.searchsorted(self.ids, ids)
        if len(ids) and (places.max() == len(self.ids) or (self.ids[places] != ids).any()):
            return False
        self._place(places, _unit(vectors))
        return True

    def is_full(self) -> bool:
        """Whether every row is there."""
        return bool(self.has.all())

    def places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """(M,): where the rows with these ids are, rising; an unknown id is left out."""
        wanted = np.unique(ids)
        places = np.searchsorted(self.ids, wanted)
        known = places < len(self.ids)
        known[known] = self.ids[places[known]] == wanted[known]
        return places[known]

    def search(
        self,
        queries: NDArray[np.float32],
        limit: int,
        wanted: NDArray[np.int64] | None = None,
    ) -> Ranking:
        """The (W, c) rows with the highest cosine similarity to each query.

        Args:
            wanted: (M,) places of the only rows that may be found; None: all.
        """
        if wanted is not None and len(wanted) * _COPIED_SHARE <= len(self.ids):
            return self._copied(wanted).search(queries, limit)
        unwanted = None
        if wanted is not None:
            unwanted = np.ones(len(self.ids), bool)
            unwanted[wanted] = False
        ranking = Ranking.nothing(len(queries), limit)
        unit = _unit(queries)
        step = max(8, _BLOCK_NUMBERS // max(1, len(self.ids)))
        for start in range(0, len(unit), step):
            scores = self._scores(unit[start : start + step])
            if unwanted is not None:
                scores[:, unwanted] = -np.inf
            lowest = _lowest(scores, limit)
            for row, (row_scores, row_lowest) in enumerate(zip(scores, lowest, strict=True)):
                places = np.flatnonzero(row_scores >= row_lowest)
                rounded = row_scores[places].round(_DECIMALS)
                # Stable: places rise with the ids.
                order = np.argsort(-rounded, kind="stable")[:limit]
                ranking.ids[start + row, : len(order)] = self.ids[places[order]]
                ranking.scores[start + row, : len(order)] = rounded[order]
        return ranking

    def _copied(self, places: NDArray[np.int64]) -> HeldRows:
        copied = HeldRows.empty(self.ids[places], self.blocks.shape[1])
        vectors = self.blocks[places // _ROWS, :, places % _ROWS]
        copied._place(np.arange(len(places)), vectors)
        return copied

    def _place(self, places: NDArray[np.int64], unit: NDArray[np.float32]) -> None:
        self.blocks[places // _ROWS, :, places % _ROWS] = unit
        self.has[places] = True

    def _scores(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """(W, N) cosines."""
        num_blocks = len(self.blocks)
        scores = np.empty((len(unit), num_blocks, _ROWS), np.float32)
        np.matmul(unit, self.blocks, out=scores.transpose(1, 0, 2))
        return scores.reshape(len(unit), num_blocks * _ROWS)[:, : len(self.ids)]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths = np.where(norms == 0, 1, norms).astype(np.float32)
    unit: NDArray[np.float32] = (vectors / lengths).astype(np.float32, copy=False)
    return unit


def _lowest(scores: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    """(W,): no score of the best c is lower. Of (W, N).

    The c-th greatest of the groups' greatest: c groups have a score that is as great.
    """
    num_rows = scores.shape[1]
    num_groups = num_rows // _GROUP
    if num_groups < limit:
        return np.full(len(scores), _NOTHING)
    groups = scores[:, : num_groups * _GROUP].reshape(len(scores), _GROUP, num_groups).max(axis=1)
    lowest = np.partition(groups, num_groups - limit, axis=1)[:, -limit]
    # What rounds to the same score ties with it.
    ties: NDArray[np.float32] = lowest - np.float32(10.0**-_DECIMALS)
    return ties.clip(min=_NOTHING)
