"""Asks an index for rows by their own vectors: what it searches is what it stores.

Milvus keeps an index beside the rows; damage to it changes rankings, and no row.
Shape legend: N chunks, D dimension.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.sampling import sampled
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import AuditedVersion, SearchRequest

MOST_SEARCHED = 1_000  # chunks: a search compares each with all
_TOLERANCE = 1e-3  # of a cosine
_QUERIES, _HITS = 100, 4  # of one request


def unsearchable(
    record: VersionRecord,
    index: AuditedVersion,
    ids: NDArray[np.int64],
    damaged: Collection[str] = (),
) -> dict[str, list[int]]:
    """By collection, the chunks that a search for their own vector does not find at cosine 1.

    Nothing where searches are approximate: an answer that lacks a row proves nothing there.

    Args:
        ids: of these chunks, at most `MOST_SEARCHED` drawn at random.
        damaged: collections that are left out.
    """
    found: dict[str, list[int]] = {}
    if not index.capabilities().searches_exactly:
        return found
    drawn = sampled(ids, MOST_SEARCHED, seed=0)
    for collection in (*record.head_collections(), record.chunks_collection()):
        for start in range(0, len(drawn) if collection not in damaged else 0, _QUERIES):
            block = drawn[start : start + _QUERIES].tolist()
            vectors = index.vectors(collection, block)
            usable = [i for i in block if i in vectors and _has_direction(vectors[i])]
            if usable:
                queries = np.array([vectors[i] for i in usable], np.float32)
                [hits] = index.search([SearchRequest(collection, queries, _HITS)])
                is_near = np.abs(hits.scores - 1) < _TOLERANCE
                is_found = (is_near & (hits.ids == np.array(usable)[:, None])).any(axis=1)
                # Rows with equal vectors may leave no place for this one.
                is_found |= is_near.all(axis=1)
                lost = np.array(usable)[~is_found]
                if len(lost):
                    found.setdefault(collection, []).extend(lost.tolist())
    return found


def _has_direction(vector: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(vector).all() and vector.any())
