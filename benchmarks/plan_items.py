"""The items of a large corpus by phase, cut by the product's own functions: for the plan.

`scale_plan.py` counts what they read, `simulate.py` has nodes do them. An embedding's item is a
shard.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.index.milvus import ranges
from mrag_pipeline.ports import CollectionSpec
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.ingest.load_items import (
    EndItem,
    LoadItem,
    RangeItem,
    load_items,
    range_items,
)
from mrag_pipeline.stages.ingest.reconcile_items import reconcile_items
from mrag_pipeline.stages.ingest.verify_items import (
    CompareItem,
    SampleItem,
    compare_items,
    drawn_sample,
    sample_items,
    sample_seed,
)
from mrag_pipeline.stages.version_collections import collections_of
from tests.support.fake_staging import a_card, a_manifest

RANGE_BYTES = MilvusSpec().range_mb * 1e6


@dataclass(frozen=True)
class Corpus:
    """A corpus that is cut into equal shards, and its encoder."""

    chunks: int
    shards: int
    heads: int
    dim: int
    shard_bytes: int = 1  # of source

    def manifest(self) -> Manifest:
        """Its plan."""
        heads = [Head(5, head) for head in range(self.heads)]
        card = replace(a_card(heads, self.dim), standard_dim=self.heads * self.dim)
        size = self.shard_bytes
        shards = tuple(
            Shard(shard, (Slice("corpus", "bytes", shard * size, (shard + 1) * size, size, ""),))
            for shard in range(self.shards)
        )
        return replace(a_manifest(num_shards=0, card=card), shards=shards)

    def rows(self) -> dict[int, int]:
        """How many chunks each shard has."""
        bounds = [self.chunks * shard // self.shards for shard in range(self.shards + 1)]
        return {shard: bounds[shard + 1] - bounds[shard] for shard in range(self.shards)}


def reconcile_sizes(corpus: Corpus) -> list[int]:
    """Bytes of source of the items that read all shards; what is found twice is not planned."""
    return [item.num_bytes for item in reconcile_items(corpus.manifest())]


AnyLoadItem = LoadItem | RangeItem | EndItem


def load_steps(corpus: Corpus) -> tuple[list[list[AnyLoadItem]], Sequence[CollectionSpec]]:
    """As a load does them that finds nothing there: each step waits for all of the one before.

    Returns: the items, and the collections that they name by number.
    """
    manifest, rows = corpus.manifest(), corpus.rows()
    collections = collections_of(manifest)
    every = load_items(collections, corpus.chunks, is_stale=False)
    fills: list[RangeItem] = []
    ends: list[AnyLoadItem] = []  # of each collection, what completes it
    for item in every:
        if item.num_bytes <= RANGE_BYTES:
            ends.append(item)
            continue
        first = len(every) + len(fills)
        fills += range_items(item.index, collections[item.index], rows, RANGE_BYTES, first)
        ends.append(EndItem(item.index, item.index, {}))
    fills.sort(key=lambda item: (-item.num_bytes, item.index))
    *heads, chunks = ends
    whole = [item for item in heads if isinstance(item, LoadItem)]
    of_ranges = [item for item in heads if isinstance(item, EndItem)]
    return [[*fills, *whole], [*of_ranges], [chunks]], collections


def collection_of(item: AnyLoadItem) -> int:
    """The number of the item's collection."""
    return item.index if isinstance(item, LoadItem) else item.collection


@cache
def channels_of_chunks(corpus: Corpus) -> int:
    """How many channels take the rows of the chunks collection, as the product creates it."""
    steps, collections = load_steps(corpus)
    number = len(collections) - 1
    rows = {
        item.name: item.num_rows
        for item in steps[0]
        if isinstance(item, RangeItem) and item.collection == number
    }
    return ranges._channels(collections[number], rows) if rows else 1


def verify_items_of(corpus: Corpus) -> tuple[Sequence[SampleItem], Sequence[CompareItem]]:
    """Those that sample, then those that compare."""
    manifest, spec, rows = corpus.manifest(), IngestSpec(), corpus.rows()
    sample = drawn_sample(rows, spec.verify_sample, sample_seed(manifest))
    samples = sample_items(manifest, sample, rows, corpus.chunks)
    return samples, list(compare_items(manifest, sample, rows, spec))


@cache
def verify_bytes(corpus: Corpus) -> int:
    """That a verification reads."""
    samples, compares = verify_items_of(corpus)
    return sum(item.num_bytes for item in samples) + sum(item.num_bytes for item in compares)


def verify_reads(corpus: Corpus) -> int:
    """How many files of shards a verification reads."""
    samples, compares = verify_items_of(corpus)
    return sum(len(item.sample) for item in samples) + sum(len(item.shards) for item in compares)
