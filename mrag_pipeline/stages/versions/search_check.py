"""Asks an index for rows by their own vectors: what it searches is what it stores.

Milvus keeps an index beside the rows; damage to it changes rankings, and no row. Where searches are
exact, each row has to be found; where they are approximate, as many of the nearest rows as when the
version was built.
Shape legend: N chunks, n sampled, B queries, D dimension, k hits.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.sampling import sampled
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import AuditedVersion, SearchRequest

MOST_SEARCHED = 1_000  # chunks: a search compares each with all
_TOLERANCE = 1e-3  # of a cosine
_QUERIES, _HITS = 100, 4  # of one request
_NEAREST = 10  # hits of an approximate search
_TIE = 1e-4  # of a cosine: two rows so close may change places
_SIGMAS, _MARGIN = 3.0, 0.01  # by which a sample's recall may be lower than the recorded one


@dataclass(frozen=True, slots=True)
class Forgetful:
    """What approximate searches of a collection miss, of the nearest rows of a sample."""

    missed: int
    recall: float
    recorded: float  # when the version was built


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


def forgetful(
    record: VersionRecord,
    index: AuditedVersion,
    ids: NDArray[np.int64],
    damaged: Collection[str] = (),
) -> dict[str, Forgetful]:
    """By collection, the approximate searches whose recall is below the recorded one.

    The truth is exact search among the sample: what is nearer there than a ranking's last hit has
    to be in the ranking. Nothing where searches are exact, or no recall was recorded.

    Args:
        ids: of these chunks, at most `MOST_SEARCHED` drawn at random.
        damaged: collections that are left out.
    """
    recorded = record.verified_recall()
    if index.capabilities().searches_exactly or recorded is None:
        return {}
    drawn = sampled(ids, MOST_SEARCHED, seed=0)
    found: dict[str, Forgetful] = {}
    for collection in (*record.head_collections(), record.chunks_collection()):
        if collection in damaged:
            continue
        num_wanted, missed = _missed(index, collection, drawn)
        recall = 1.0 - missed / max(1, num_wanted)
        spread = (recorded * (1.0 - recorded) / max(1, num_wanted)) ** 0.5
        if recall < recorded - _SIGMAS * spread - _MARGIN:
            found[collection] = Forgetful(missed, recall, recorded)
    return found


def _missed(index: AuditedVersion, collection: str, drawn: NDArray[np.int64]) -> tuple[int, int]:
    """How many pairs of a sampled chunk and one near it a search has to find, and misses."""
    stored = index.vectors(collection, drawn.tolist())
    ids = np.array([i for i in stored if _has_direction(stored[i])], np.int64)
    if not len(ids):
        return 0, 0
    units = _unit([stored[int(i)] for i in ids])
    num_wanted = missed = 0
    for start in range(0, len(ids), _QUERIES):
        queries = units[start : start + _QUERIES]
        request = SearchRequest(collection, queries.astype(np.float32), _NEAREST)
        [hits] = index.search([request])
        last_ids = hits.ids[:, -1]
        last = index.vectors(collection, [int(i) for i in np.unique(last_ids) if i >= 0])
        for row, query in enumerate(queries):
            vector = last.get(int(last_ids[row]))  # None: fewer hits than asked for
            floor = -np.inf if vector is None else float(_unit([vector])[0] @ query) + _TIE
            is_found_n = np.isin(ids, hits.ids[row])
            is_nearer_n = units @ query > floor
            num_wanted += int((is_found_n | is_nearer_n).sum())
            missed += int((is_nearer_n & ~is_found_n).sum())
    return num_wanted, missed


def _unit(vectors: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    rows = np.array(vectors, np.float64)
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _has_direction(vector: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(vector).all() and vector.any())
