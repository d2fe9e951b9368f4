"""Asks an index for rows by their own vectors: what it searches is what it stores.

Milvus keeps an index beside the rows; damage to it changes rankings, and no row. Where searches are
exact, each row has to be found; search_recall.py looks at approximate ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import AuditedVersion, HasCapabilities, SearchRequest

MOST_SEARCHED = 1_000  # chunks: a search compares each with all
_TOLERANCE = 1e-3  # of a cosine
QUERIES, _HITS = 100, 4  # of one request


def unsearchable_in(index: AuditedVersion, collection: str, drawn: NDArray[np.int64]) -> list[int]:
    """Those of the drawn chunks that a search of the collection does not find at cosine 1.

    Says nothing where searches are approximate: an answer that lacks a row proves nothing there.

    Args:
        drawn: at most `MOST_SEARCHED` chunks: each is compared with all.
    """
    unfound: list[int] = []
    for start in range(0, len(drawn), QUERIES):
        block = drawn[start : start + QUERIES].tolist()
        vectors = index.vectors(collection, block)
        usable = [i for i in block if i in vectors and has_direction(vectors[i])]
        if usable:
            queries = np.array([vectors[i] for i in usable], np.float32)
            [hits] = index.search([SearchRequest(collection, queries, _HITS)])
            is_near = np.abs(hits.scores - 1) < _TOLERANCE
            is_found = (is_near & (hits.ids == np.array(usable)[:, None])).any(axis=1)
            # Rows with equal vectors may leave no place for this one.
            is_found |= is_near.all(axis=1)
            unfound += np.array(usable)[~is_found].tolist()
    return unfound


def searches_exactly(record: VersionRecord, index: HasCapabilities) -> bool:
    """Whether a search of the version compares its vector with every row.

    Not if the version was built with an approximate index, whatever the config says by now.
    """
    milvus = record.config.get("milvus")
    built = milvus.get("index_type") if isinstance(milvus, Mapping) else None
    return index.capabilities().searches_exactly and str(built or "FLAT").upper() == "FLAT"


def has_direction(vector: NDArray[np.float32]) -> bool:
    """Whether a cosine with it is one: it is finite and not zero."""
    return bool(np.isfinite(vector).all() and vector.any())
