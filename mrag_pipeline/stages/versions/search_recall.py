"""Measures approximate searches of a version, and compares them with those of its build.

The truth is exact search among a sample of chunks: what is nearer there than a ranking's last hit
has to be in the ranking. A recall says something of damage only if it was measured as the build
measured it: on the same rows, with the same index and search parameters and as many hits.
Shape legend: N sampled chunks, B queries, D dimension, k hits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import AuditedVersion, HasCapabilities, SearchRequest
from mrag_pipeline.stages.versions.findings import Finding
from mrag_pipeline.stages.versions.search_check import QUERIES, has_direction

_NEAREST = 10  # hits of a search, where the build did not record how many it compared
_TIE = 1e-4  # of a cosine: two rows so close may change places
_SIGMAS, _MARGIN = 3.0, 0.01  # by which a sample's recall may be lower than the build's


@dataclass(frozen=True, slots=True)
class Recall:
    """What searches of a collection find of the nearest rows of a sample."""

    wanted: int  # pairs of a sampled chunk and a near one
    missed: int  # of these

    @property
    def share(self) -> float:
        """The share that is found."""
        return 1.0 - self.missed / max(1, self.wanted)


def not_comparable(record: VersionRecord, index: HasCapabilities) -> str:
    """Why today's recall cannot be compared with that of the build; empty if it can."""
    if record.verified_recall() is None or _verify_k(record) is None:
        return "the build did not record its own"
    if record.syncs:
        return "syncs have changed the version's rows since"
    built = record.config.get("milvus")
    if not isinstance(built, Mapping):
        return "the build did not record its index type"
    changed = [
        f"milvus.{name}"
        for name, value in index.capabilities().vector_index.items()
        if _as_written(built.get(name)) != _as_written(value)
    ]
    return f"the build had another {' and '.join(changed)}" if changed else ""


def lowered(
    record: VersionRecord, index: HasCapabilities, measured: Mapping[str, Recall]
) -> dict[str, Recall]:
    """The collections whose recall is lower than that of the build, by more than chance.

    Nothing where the two cannot be compared.
    """
    built = record.verified_recall()
    if built is None or not_comparable(record, index):
        return {}
    return {
        collection: recall
        for collection, recall in measured.items()
        if recall.share < built - _SIGMAS * _spread(record, built, recall) - _MARGIN
    }


def recall_findings(record: VersionRecord, lower: Mapping[str, Recall]) -> list[Finding]:
    """What `lowered` gave, as findings."""
    return [
        Finding(
            collection,
            f"near chunks of a sample that searches miss: recall {recall.share:.4f}, where it was "
            f"{record.verified_recall():.4f} when the version was built",
            recall.missed,
        )
        for collection, recall in lower.items()
    ]


def _spread(record: VersionRecord, built: float, recall: Recall) -> float:
    """Standard deviation of the difference of both samples' recalls, were nothing changed."""
    num_built = (record.verified_queries() or 0) * (_verify_k(record) or _NEAREST)
    if not num_built:  # as if it were known of all chunks
        return float((built * (1.0 - built) / max(1, recall.wanted)) ** 0.5)
    num_missed = recall.missed + (1.0 - built) * num_built
    missed = num_missed / (recall.wanted + num_built)
    shares = 1.0 / max(1, recall.wanted) + 1.0 / num_built
    return float((missed * (1.0 - missed) * shares) ** 0.5)


def recall_in(
    record: VersionRecord, index: AuditedVersion, collection: str, drawn: NDArray[np.int64]
) -> Recall:
    """What searches of a collection find of the nearest of the drawn chunks.

    Args:
        drawn: the sample, at most `MOST_SEARCHED` chunks.
    """
    limit = _verify_k(record) or _NEAREST
    stored = index.vectors(collection, drawn.tolist())
    ids = np.array([i for i in stored if has_direction(stored[i])], np.int64)
    if not len(ids):
        return Recall(0, 0)
    units = _unit([stored[int(i)] for i in ids])
    num_wanted = num_missed = 0
    for start in range(0, len(ids), QUERIES):
        queries = units[start : start + QUERIES]
        request = SearchRequest(collection, queries.astype(np.float32), limit)
        [hits] = index.search([request])
        last_ids = hits.ids[:, -1]
        last = index.vectors(collection, [int(i) for i in np.unique(last_ids) if i >= 0])
        for row, query in enumerate(queries):
            vector = last.get(int(last_ids[row]))  # None: fewer hits than asked for
            floor = -np.inf if vector is None else float(_unit([vector])[0] @ query) + _TIE
            is_found_n = np.isin(ids, hits.ids[row])
            is_nearer_n = units @ query > floor
            num_wanted += int((is_found_n | is_nearer_n).sum())
            num_missed += int((is_nearer_n & ~is_found_n).sum())
    return Recall(num_wanted, num_missed)


def _verify_k(record: VersionRecord) -> int | None:
    """How many hits the build compared; so many are asked for, as parameters depend on it."""
    ingest = record.config.get("ingest")
    value = ingest.get("verify_k") if isinstance(ingest, Mapping) else None
    return value if isinstance(value, int) else None


def _as_written(value: object) -> object:
    """A parameter as it is compared: index types are the same in capitals."""
    return value.upper() if isinstance(value, str) else value


def _unit(vectors: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    rows = np.array(vectors, np.float64)
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
