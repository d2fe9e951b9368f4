"""The rows of one collection in memory, for exact search. Shape legend: N rows, D dimension."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.proofs import PROOF, UNPROVEN
from mrag_pipeline.index.milvus import rows
from mrag_pipeline.ports import ChunkRow


@dataclass(frozen=True, slots=True, eq=False)
class ExactRows:
    """Rows that never change: a change makes others."""

    ids: NDArray[np.int64]  # (N,)
    vectors: NDArray[np.float32]  # (N, D)
    places: Mapping[int, int]  # id to row
    texts: Mapping[int, ChunkRow]  # of a chunks collection
    proofs: Mapping[int, str]  # the same

    @classmethod
    def none(cls, dim: int) -> ExactRows:
        """No rows, of vectors of `dim` numbers."""
        return cls._of({}, {}, {}, dim)

    def with_rows(self, added: Iterable[Mapping[str, Any]], are_chunks: bool) -> ExactRows:
        """These and the added ones; one whose id is there is replaced.

        Args:
            added: each with chunk_id and vector, and a chunks row with its other fields.
        """
        vectors = dict(zip(self.ids.tolist(), self.vectors, strict=True))
        texts, proofs = dict(self.texts), dict(self.proofs)
        for row in added:
            vectors[row["chunk_id"]] = row["vector"]
            if are_chunks:
                texts[row["chunk_id"]] = rows.chunk(row)
                proofs[row["chunk_id"]] = row.get(PROOF, UNPROVEN)
        return self._of(vectors, texts, proofs, self.vectors.shape[1])

    def without(self, ids: Sequence[int]) -> ExactRows:
        """Those that have none of these ids."""
        gone = set(map(int, ids))
        vectors = zip(self.ids.tolist(), self.vectors, strict=True)
        return self._of(
            {i: vector for i, vector in vectors if i not in gone},
            {i: row for i, row in self.texts.items() if i not in gone},
            {i: proof for i, proof in self.proofs.items() if i not in gone},
            self.vectors.shape[1],
        )

    @classmethod
    def _of(
        cls,
        vectors: Mapping[int, NDArray[np.float32]],
        texts: Mapping[int, ChunkRow],
        proofs: Mapping[int, str],
        dim: int,
    ) -> ExactRows:
        return cls(
            np.array(list(vectors), dtype=np.int64),
            np.array(list(vectors.values()), dtype=np.float32).reshape(-1, dim),
            {i: row for row, i in enumerate(vectors)},
            texts,
            proofs,
        )
