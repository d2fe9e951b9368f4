"""Compares a loaded version with what was staged, before it becomes live.

Rankings of a sample are compared with exact search over the staged vectors; in a large corpus, over
some of its shards: whatever is nearer there than a ranking's last hit must be in the ranking.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.exact_search import Hits, merge, top_k
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.ports import (
    CollectionSpec,
    Progress,
    Ranking,
    Rows,
    Searches,
    SearchRequest,
    Staging,
)
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.load import collections_of, staged_rows
from mrag_pipeline.stages.ingest.read_ahead import read_ahead

log = logging.getLogger(__name__)

SCORE_TOLERANCE = 1e-4  # two chunks so close in cosine may change places
VECTOR_TOLERANCE = 1e-3  # relative, for staging in float16
# Shards in memory at a time: so many, or fewer where they have more numbers than that together.
_SHARDS_AT_ONCE = 4
_NUMBERS_AT_ONCE = 4_000_000


class LoadedIndex(Searches, Rows, Protocol):
    """Loaded collections that can be searched and read."""


@dataclass(frozen=True, slots=True)
class CollectionCheck:
    """What was found in one collection."""

    collection: str
    rows: int
    recall: float  # against exact search, on the sample


def lowest_recall(checks: Sequence[CollectionCheck]) -> float:
    """The lowest recall of any collection; 1.0 if there are no checks."""
    return min((check.recall for check in checks), default=1.0)


def verify(
    manifest: Manifest,
    staging: Staging,
    index: LoadedIndex,
    num_chunks: int,
    spec: IngestSpec,
    progress: Progress,
) -> list[CollectionCheck]:
    """Row counts, stored vectors and rankings of every collection are what was staged.

    Raises: VerifyFailed, naming the collection and the figures.
    """
    collections = collections_of(
        manifest.index, manifest.version, manifest.encoder, manifest.lexical
    )
    progress.phase("verify", len(collections), "collections")
    shards = _with_chunks(manifest, staging)
    checks = []
    for number, collection in enumerate(collections):
        rows = index.count(collection.name)
        if rows != num_chunks:
            raise VerifyFailed(
                f"{collection.name} holds {rows} rows",
                f"{num_chunks}, as the shards' receipts say",
                "run `mrag ingest` again: the collection is dropped and loaded anew",
            )
        if collection.kind == "lexical":
            _check_words(staging, index, collection, shards, spec.verify_sample)
            checks.append(CollectionCheck(collection.name, rows, 1.0))
            progress.advance(1)
            continue
        recall = _check_sample(manifest, staging, index, collection, shards, number, spec)
        checks.append(CollectionCheck(collection.name, rows, recall))
        if recall < spec.min_recall:
            raise VerifyFailed(
                f"{collection.name} finds {recall:.4f} of the exact top {spec.verify_k}",
                f"at least {spec.min_recall} (ingest.min_recall)",
                "use index type FLAT, raise its search effort, or lower ingest.min_recall",
            )
        progress.advance(1)
    progress.finish()
    return checks


def _check_words(
    staging: Staging,
    index: LoadedIndex,
    collection: CollectionSpec,
    shards: Mapping[int, int],
    size: int,
) -> None:
    """The words of a sample of the staged chunks are the stored ones."""
    chosen = _some(list(shards), size)
    each = -(-size // max(1, len(chosen)))
    for shard in chosen:
        rows = staged_rows(staging.chunks(shard))
        sample = [rows[row] for row in _spread(len(rows), each)]
        stale = index.stale_words(collection, sample)
        if stale:
            raise VerifyFailed(
                f"chunk {stale[0]} is missing or has other words in {collection.name}",
                "the words of the staged title and text",
                "run `mrag ingest` again after dropping the collection",
            )


def _with_chunks(manifest: Manifest, staging: Staging) -> dict[int, int]:
    """The number of chunks of each shard that has some; all of them may be duplicates."""
    shards = (shard.index for shard in manifest.shards)
    receipts = staging.receipts(shards, manifest.fingerprint)
    return {
        receipt.shard: receipt.num_chunks
        for receipt in receipts
        if receipt is not None and receipt.num_chunks
    }


def _among(shards: Mapping[int, int], sampled: Sequence[int], max_chunks: int) -> list[int]:
    """The shards to compare with: all, or as many as hold about `max_chunks`, and the sample's."""
    total = sum(shards.values())
    if total <= max_chunks:
        return list(shards)
    return sorted({*_some(list(shards), len(shards) * max_chunks // total), *sampled})


def _check_sample(
    manifest: Manifest,
    staging: Staging,
    index: LoadedIndex,
    collection: CollectionSpec,
    shards: Mapping[int, int],
    number: int,
    spec: IngestSpec,
) -> float:
    """Recall on a sample of the staged chunks, evenly spaced, each asking for its neighbours."""
    chosen = _some(list(shards), spec.verify_sample)
    ids, queries = _sample(manifest, staging, chosen, number, spec.verify_sample)
    if not len(ids):
        return 1.0
    stored = index.vectors(collection.name, ids.tolist())
    for chunk_id, staged in zip(ids.tolist(), queries, strict=True):
        if chunk_id not in stored or not _same_direction(stored[chunk_id], staged):
            raise VerifyFailed(
                f"chunk {chunk_id} is missing or another vector in {collection.name}",
                "the staged vector",
                "run `mrag ingest` again after dropping the collection",
            )
    exact = Hits(np.zeros((len(ids), 0), np.int64), np.zeros((len(ids), 0), np.float32))

    def nearest(shard: int) -> Hits:
        return top_k(*_vectors(manifest, staging, shard, number), queries, spec.verify_k)

    among = _among(shards, chosen, spec.verify_among)
    largest = max(shards[shard] for shard in among) * queries.shape[1]
    at_once = max(1, min(_SHARDS_AT_ONCE, _NUMBERS_AT_ONCE // largest))
    for hits in read_ahead(nearest, among, at_once):
        exact = merge([exact, hits], spec.verify_k)
    request = SearchRequest(collection.name, queries, spec.verify_k)
    [ranking] = index.search([request])
    return _recall(ranking, exact)


def _recall(ranking: Ranking, exact: Hits) -> float:
    """Share of the nearest chunks that were found, among those that exact search looked at.

    A chunk that is missing counts only if it is nearer than the ranking's last hit; one as near
    is as good.
    """
    num_wanted = num_found = 0
    for row in range(len(exact.ids)):
        is_hit = exact.ids[row] >= 0
        is_found = is_hit & np.isin(exact.ids[row], ranking.ids[row])
        is_full = bool(np.all(ranking.ids[row] >= 0))
        floor = float(ranking.scores[row].min()) + SCORE_TOLERANCE if is_full else -np.inf
        num_wanted += int(np.sum(is_found | (is_hit & (exact.scores[row] > floor))))
        num_found += int(is_found.sum())
    return num_found / num_wanted if num_wanted else 1.0


def _same_direction(stored: NDArray[np.float32], staged: NDArray[np.float32]) -> bool:
    if not np.all(np.isfinite(stored)):
        return False
    # Some backends store what they index under cosine at unit length.
    stored = stored / np.linalg.norm(stored)
    return bool(np.linalg.norm(stored - staged / np.linalg.norm(staged)) <= VECTOR_TOLERANCE)


def _vectors(
    manifest: Manifest, staging: Staging, shard: int, number: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    heads = manifest.encoder.heads
    table = staging.head(shard, heads[number]) if number < len(heads) else staging.chunks(shard)
    ids = table.column("chunk_id").to_numpy().astype(np.int64, copy=False)
    vectors = vector_matrix(table.column("vector"))
    dim = manifest.encoder.head_dim if number < len(heads) else manifest.encoder.standard_dim
    return ids, vectors.astype(np.float32, copy=False).reshape(len(ids), dim)


def _sample(
    manifest: Manifest, staging: Staging, shards: Sequence[int], number: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Evenly spaced rows of the shards: the same in every run."""
    rows_per_shard = -(-size // max(1, len(shards)))
    ids, vectors = [], []
    for shard in shards:
        shard_ids, shard_vectors = _vectors(manifest, staging, shard, number)
        rows = _spread(len(shard_ids), rows_per_shard)
        ids.append(shard_ids[rows])
        vectors.append(shard_vectors[rows])  # a copy: the shard itself is freed
    if not ids:
        return np.zeros(0, np.int64), np.zeros((0, 1), np.float32)
    return np.concatenate(ids)[:size], np.concatenate(vectors)[:size]


def _some(shards: Sequence[int], wanted: int) -> list[int]:
    return [shards[position] for position in _spread(len(shards), wanted)]


def _spread(length: int, wanted: int) -> list[int]:
    return sorted({i * length // wanted for i in range(wanted)}) if length > 0 else []
