"""One item of the verify phase: looks at a collection's sample, or at some staged shards.

An item says what it found and judges nothing: the first error that is reported does not depend on
which worker was faster. Shape legend: W sampled chunks, D dimension, k hits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.exact_search import Hits, merge, top_k
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.ports import CollectionSpec, Ranking, Rows, Searches, SearchRequest, Staging
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest.load_items import row_bytes
from mrag_pipeline.stages.ingest.read_ahead import read_ahead
from mrag_pipeline.stages.version_collections import collections_of
from mrag_pipeline.stages.versions.stored_rows import staged_rows

VECTOR_TOLERANCE = 1e-3  # relative, for staging in float16
ITEM_BYTES = 64_000_000  # of vectors that an item compares: some seconds
# Shards in memory at a time: so many, or fewer where they have more numbers than that together.
SHARDS_AT_ONCE = 4
_NUMBERS_AT_ONCE = 4_000_000


Vectors = NDArray[np.float32]
Sample = Mapping[int, int]  # how many chunks, by shard


class LoadedIndex(Searches, Rows, Protocol):
    """Loaded collections that can be searched and read."""


@dataclass(frozen=True, slots=True)
class SampleItem:
    """Look at a collection: its rows, and a sample's stored vectors and ranking, or a part's."""

    index: int
    collection: int  # its number
    num_rows: int  # that it should have
    sample: Mapping[int, int]  # how many chunks of which shards
    seed: int  # of which chunks these are: the same in every collection, and in every run
    num_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """What a `SampleItem` found. Without queries, no ranking was asked for."""

    index: int
    collection: int
    rows: int
    wrong: int | None = None  # a chunk that is missing or another; nothing more was looked at
    queries: Vectors | None = None  # (W, D), as staged
    ranking: Ranking | None = None  # (W, k), of the index

    @property
    def num_rows(self) -> int:
        """Sampled vectors."""
        return 0 if self.queries is None else len(self.queries)


@dataclass(frozen=True, slots=True, eq=False)
class CompareItem:
    """Search some shards exactly."""

    index: int
    collection: int
    shards: tuple[int, ...]
    largest: int  # chunks of the largest of them
    num_bytes: int
    queries: Vectors = field(default_factory=lambda: np.zeros((0, 1), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The exact top k of some shards."""

    collection: int
    hits: Hits
    num_rows: int  # staged vectors that were compared


@dataclass(frozen=True, slots=True)
class Verifier:
    """Does the items of a version's verification."""

    manifest: Manifest
    staging: Staging
    index: LoadedIndex
    spec: IngestSpec
    threads: int = SHARDS_AT_ONCE  # that read and compare shards

    def __call__(self, item: SampleItem | CompareItem) -> Sampled | Compared:
        """What the item asks for."""
        return self._compared(item) if isinstance(item, CompareItem) else self._sampled(item)

    def _sampled(self, item: SampleItem) -> Sampled:
        collection = collections_of(self.manifest)[item.collection]
        rows = self.index.count(collection.name)
        if rows != item.num_rows:
            return Sampled(item.index, item.collection, rows)
        if collection.kind == "lexical":
            return Sampled(item.index, item.collection, rows, self._stale(collection, item))
        ids, queries = self._sample(item)
        if not len(ids):
            return Sampled(item.index, item.collection, rows)
        stored = self.index.vectors(collection.name, ids.tolist())
        for chunk_id, staged in zip(ids.tolist(), queries, strict=True):
            if chunk_id not in stored or not _same_direction(stored[chunk_id], staged):
                return Sampled(item.index, item.collection, rows, chunk_id)
        request = SearchRequest(collection.name, queries, self.spec.verify_k)
        [ranking] = self.index.search([request])
        return Sampled(item.index, item.collection, rows, None, queries, ranking)

    def _stale(self, collection: CollectionSpec, item: SampleItem) -> int | None:
        """A sampled chunk whose words are not the stored ones."""
        for shard in item.sample:
            table = self.staging.chunks(shard)
            rows = staged_rows(table.take(drawn_rows(item, shard, len(table))))
            stale = self.index.stale_words(collection, rows)
            if stale:
                return stale[0]
        return None

    def _sample(self, item: SampleItem) -> tuple[NDArray[np.int64], Vectors]:
        """Rows of the shards, drawn at random."""
        ids, vectors = [], []
        for shard in item.sample:
            shard_ids, shard_vectors = self._vectors(shard, item.collection)
            rows = drawn_rows(item, shard, len(shard_ids))
            ids.append(shard_ids[rows])
            vectors.append(shard_vectors[rows])  # a copy: the shard itself is freed
        if not ids:
            return np.zeros(0, np.int64), np.zeros((0, 1), np.float32)
        return np.concatenate(ids), np.concatenate(vectors)

    def _compared(self, item: CompareItem) -> Compared:
        def nearest(shard: int) -> tuple[Hits, int]:
            ids, vectors = self._vectors(shard, item.collection)
            return top_k(ids, vectors, item.queries, self.spec.verify_k), len(ids)

        largest = max(1, item.largest * item.queries.shape[1])
        at_once = max(1, min(self.threads, _NUMBERS_AT_ONCE // largest))
        best, num_rows = no_hits(len(item.queries)), 0
        for hits, num_compared in read_ahead(nearest, item.shards, at_once):
            best = merge([best, hits], self.spec.verify_k)
            num_rows += num_compared
        return Compared(item.collection, best, num_rows)

    def _vectors(self, shard: int, number: int) -> tuple[NDArray[np.int64], Vectors]:
        card = self.manifest.encoder
        is_head = number < len(card.heads)
        table = (
            self.staging.head(shard, card.heads[number]) if is_head else self.staging.chunks(shard)
        )
        ids = table.column("chunk_id").to_numpy().astype(np.int64, copy=False)
        vectors = vector_matrix(table.column("vector"))
        dim = card.head_dim if is_head else card.standard_dim
        return ids, vectors.astype(np.float32, copy=False).reshape(len(ids), dim)


def sample_items(
    manifest: Manifest, sample: Sample, shards: Mapping[int, int], num_chunks: int
) -> list[SampleItem]:
    """One for each collection, or several whose shards are large.

    Args:
        shards: the number of chunks of each shard that has some.
    """
    seed = sample_seed(manifest)
    items: list[SampleItem] = []
    for number, collection in enumerate(collections_of(manifest)):
        each = row_bytes(collection)
        for part in list(_parts(list(sample), shards, each)) or [()]:
            own = {shard: sample[shard] for shard in part}
            num_bytes = each * sum(shards[shard] for shard in part)
            items.append(SampleItem(len(items), number, num_chunks, own, seed, num_bytes))
    return items


def sampled_whole(parts: Sequence[Sampled]) -> Sampled:
    """What was found in a collection, of what was found with parts of its sample, in order.

    A part that found something wrong says it for all.
    """
    first, *others = parts
    for part in parts:
        if part.rows != first.rows or part.wrong is not None:
            return part
    with_queries = [part for part in parts if part.queries is not None and part.ranking is not None]
    if not others or not with_queries:
        return first
    queries = np.concatenate([part.queries for part in with_queries if part.queries is not None])
    rankings = [part.ranking for part in with_queries if part.ranking is not None]
    ids = np.concatenate([ranking.ids for ranking in rankings])
    scores = np.concatenate([ranking.scores for ranking in rankings])
    return Sampled(first.index, first.collection, first.rows, None, queries, Ranking(ids, scores))


def compare_items(
    manifest: Manifest, sample: Sample, shards: Mapping[int, int], spec: IngestSpec
) -> Iterator[CompareItem]:
    """The shards that are searched exactly for each collection's sample; without its queries yet.

    Args:
        shards: the number of chunks of each shard that has some.
    """
    index = 0
    for number, collection in enumerate(collections_of(manifest)):
        if collection.kind == "lexical" or not sample:
            continue
        each = row_bytes(collection)
        for part in _parts(among(sample, shards, spec), shards, each):
            num_rows = [shards[shard] for shard in part]
            yield CompareItem(index, number, part, max(num_rows), sum(num_rows) * each)
            index += 1


def no_hits(num_queries: int) -> Hits:
    """Hits to start from: none."""
    return Hits(np.zeros((num_queries, 0), np.int64), np.zeros((num_queries, 0), np.float32))


def sample_seed(manifest: Manifest) -> int:
    """What a version's sample is drawn with: the same in every process and run."""
    return int(manifest.fingerprint[:12], 16)


def drawn_sample(shards: Mapping[int, int], size: int, seed: int) -> Sample:
    """How many chunks of each shard are looked at: `size` of all, each as likely as any other.

    Args:
        shards: the number of chunks of each shard that has some.
    """
    numbers, counts = np.array(list(shards), np.int64), np.array(list(shards.values()), np.int64)
    total = int(counts.sum())
    if size >= total:
        return dict(shards)
    drawn = np.random.default_rng(seed).choice(total, size, replace=False)
    holders = np.searchsorted(np.cumsum(counts), drawn, side="right")
    wanted = np.bincount(holders, minlength=len(counts))
    return {int(shard): int(rows) for shard, rows in zip(numbers, wanted, strict=True) if rows}


def drawn_rows(item: SampleItem, shard: int, num_rows: int) -> NDArray[np.int64]:
    """Which of a shard's rows are in the sample, rising."""
    random = np.random.default_rng([item.seed, shard])
    wanted = min(item.sample[shard], num_rows)
    return np.sort(random.choice(num_rows, wanted, replace=False))


def among(sample: Sample, shards: Mapping[int, int], spec: IngestSpec) -> list[int]:
    """The shards to compare with: all, or as many as hold about `verify_among`, and the sample's.

    The sample's own shards are among them: whatever is nearest to a chunk is often beside it.
    """
    total = sum(shards.values())
    if total <= spec.verify_among:
        return list(shards)
    wanted = max(1, len(shards) * spec.verify_among // total)
    every = list(shards)
    spaced = {every[number * len(every) // wanted] for number in range(wanted)}
    return sorted(spaced | set(sample))


def _parts(
    among: Sequence[int], shards: Mapping[int, int], row_bytes: int
) -> Iterator[tuple[int, ...]]:
    """The shards in order, in parts of at least `ITEM_BYTES` but the last."""
    part: list[int] = []
    num_bytes = 0
    for shard in among:
        part.append(shard)
        num_bytes += shards[shard] * row_bytes
        if num_bytes >= ITEM_BYTES:
            yield tuple(part)
            part, num_bytes = [], 0
    if part:
        yield tuple(part)


def _same_direction(stored: Vectors, staged: Vectors) -> bool:
    if not np.all(np.isfinite(stored)):
        return False
    # Some backends store what they index under cosine at unit length.
    stored = stored / np.linalg.norm(stored)
    return bool(np.linalg.norm(stored - staged / np.linalg.norm(staged)) <= VECTOR_TOLERANCE)
