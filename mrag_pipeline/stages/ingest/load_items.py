"""One item of the load phase: builds a collection from what is staged, or fills a range.

A small collection is one item, built whole or not at all: one whose worker died is done again from
the beginning. One worker at a time may do it: it writes. One that is cut off but lives may insert
beside it; the count of rows afterwards, and `verify`, find that.

A large collection (`milvus.range_mb`) is many ranges of shards, then an item that indexes it. A
range may be done twice, also at once: each attempt is stored apart (`ports/index/ranges.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.errors import PlanRefused, VerifyFailed
from mrag_pipeline.ports import (
    CollectionKind,
    CollectionSpec,
    RangedLoads,
    StagedTables,
    Staging,
    VersionBuilds,
)
from mrag_pipeline.stages.thread_pool import Stopped
from mrag_pipeline.stages.version_collections import collections_of

if TYPE_CHECKING:
    import pyarrow as pa

# Of a collection: a server searches each apart. Newer ones allow 65,536 partitions times channels
# in all; 32 collections of heads and one of chunks, with 8 and 16 channels, have 20,480.
MAX_RANGES: dict[CollectionKind, int] = {"head": 64, "lexical": 64, "chunks": 256}
TEXT_BYTES = 1_000  # of a row that holds a chunk's text


@dataclass(frozen=True, slots=True)
class LoadItem:
    """Build a collection, unless it is complete."""

    index: int  # the collection's number
    num_rows: int  # that it has then
    num_bytes: int
    is_stale: bool = False  # it is built anew however complete it looks


@dataclass(frozen=True, slots=True)
class RangeItem:
    """Add the rows of some shards to a collection that was begun."""

    index: int
    collection: int  # its number
    name: str  # of the range
    shards: tuple[int, ...]
    num_rows: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class EndItem:
    """Index a collection whose ranges are loaded."""

    index: int
    collection: int  # its number
    rows: Mapping[str, int]  # of each range, by name
    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of an item."""

    item: int  # its number
    collection: int  # the collection's
    was_built: bool  # whether the collection is complete now, and was not before
    num_rows: int  # of the collection or the range; 0 for the end of ranges


@dataclass(frozen=True, slots=True)
class Loader:
    """Does the items of a version's load."""

    manifest: Manifest
    staging: Staging
    index: VersionBuilds
    advance: Callable[[int], None] = lambda _: None  # told of rows; from several threads
    reported: Counter[int] = field(default_factory=Counter)  # rows, by item
    _stopped: Event = field(default_factory=Event)

    def __call__(self, item: LoadItem | RangeItem | EndItem) -> Loaded:
        """Builds the item's collection, or its part of one.

        Raises: VerifyFailed if it holds another number of rows then; IndexBusy, IndexUnavailable,
            PlanRefused; Stopped after `stop`.
        """
        if isinstance(item, RangeItem):
            return self._range(item)
        if isinstance(item, EndItem):
            return self._end(item)
        return self._whole(item)

    def stop(self) -> None:
        """Loads in other threads end at their next rows."""
        self._stopped.set()

    def _whole(self, item: LoadItem) -> Loaded:
        collection = collections_of(self.manifest)[item.index]
        if not item.is_stale and self.index.is_complete(collection, item.num_rows):
            return Loaded(item.index, item.index, was_built=False, num_rows=item.num_rows)
        tables = self._tables(item.index, [shard.index for shard in self.manifest.shards])
        on_rows = self._on_rows(item.index)
        is_live = self.index.live() == self.manifest.version
        if is_live and self.index.damage(collection.name) is not None:
            num_rows = self.index.rebuild(collection, tables)  # no reader can use it
        else:
            num_rows = self.index.load(collection, tables, on_rows)
        _check_rows(collection, num_rows, item.num_rows)
        return Loaded(item.index, item.index, was_built=True, num_rows=item.num_rows)

    def _range(self, item: RangeItem) -> Loaded:
        collection = collections_of(self.manifest)[item.collection]
        tables = self._tables(item.collection, item.shards)
        num_rows = self._ranges().load_range(
            collection, item.name, tables, self._on_rows(item.index)
        )
        if num_rows != item.num_rows:
            raise VerifyFailed(
                f"{item.name} of {collection.name} has {num_rows} staged rows",
                f"{item.num_rows}, as the shards' receipts say",
                "run the same command again: it finds the shards that are damaged",
            )
        return Loaded(item.index, item.collection, was_built=False, num_rows=num_rows)

    def _end(self, item: EndItem) -> Loaded:
        collection = collections_of(self.manifest)[item.collection]
        num_rows = self._ranges().end_ranges(collection, item.rows)
        _check_rows(collection, num_rows, sum(item.rows.values()))
        return Loaded(item.index, item.collection, was_built=True, num_rows=0)

    def _ranges(self) -> RangedLoads:
        ranges = self.index.ranges()
        if ranges is None:
            raise PlanRefused(
                f"a worker's {self.index.capabilities().store} cannot be filled in ranges",
                "the same milvus settings for every process of a run",
                "start the workers with the config file of the run",
            )
        return ranges

    def _on_rows(self, item: int) -> Callable[[int], None]:
        def on_rows(rows: int) -> None:
            if self._stopped.is_set():
                raise Stopped
            self.reported[item] += rows
            self.advance(rows)

        return on_rows

    def _tables(self, number: int, shards: Sequence[int]) -> Iterable[pa.Table]:
        staging, heads = self.staging, self.manifest.encoder.heads
        if collections_of(self.manifest)[number].kind == "chunks":
            return StagedTables(shards, staging.chunks, staging.chunks_file)
        if number >= len(heads):  # words are made of texts
            return map(staging.chunks, shards)
        head = heads[number]
        return StagedTables(
            shards,
            lambda shard: staging.head(shard, head),
            lambda shard: staging.head_file(shard, head),
        )


def load_items(
    collections: Sequence[CollectionSpec], num_chunks: int, is_stale: bool
) -> list[LoadItem]:
    """One for each collection, in their order."""
    return [
        LoadItem(number, num_chunks, num_chunks * row_bytes(collection), is_stale)
        for number, collection in enumerate(collections)
    ]


def range_items(
    number: int,
    collection: CollectionSpec,
    rows: Mapping[int, int],
    range_bytes: float,
    first_index: int,
) -> list[RangeItem]:
    """A collection's ranges: shards in their order, about `range_bytes` in each.

    The same shards make the same ranges in every run, so that what is loaded is found again.

    Args:
        rows: of each shard.
        first_index: the number of the first item.
    """
    each = row_bytes(collection)
    total = sum(rows.values()) * each
    wanted = max(range_bytes, total / MAX_RANGES[collection.kind])
    parts: list[list[int]] = [[]]
    num_bytes = 0.0
    for shard, num_rows in rows.items():
        if parts[-1] and num_bytes + num_rows * each / 2 > wanted * len(parts):
            parts.append([])
        parts[-1].append(shard)
        num_bytes += num_rows * each
    items = []
    for index, part in enumerate(parts, first_index):
        num_rows = sum(rows[shard] for shard in part)
        name = f"shards_{part[0]}_{part[-1]}" if part else "no_shards"
        items.append(RangeItem(index, number, name, tuple(part), num_rows, num_rows * each))
    return items


def may_double(item: LoadItem | RangeItem | EndItem) -> bool:
    """Whether two workers may do the item at once."""
    return isinstance(item, RangeItem)


def is_whole(item: LoadItem | RangeItem | EndItem) -> bool:
    """Whether the item builds or ends a collection: of these an index takes so many at once."""
    return not isinstance(item, RangeItem)


def _check_rows(collection: CollectionSpec, found: int, expected: int) -> None:
    if found != expected:
        raise VerifyFailed(
            f"{collection.name} holds {found} rows after loading",
            f"{expected}, as the shards' receipts say",
            "run the same command again: the collection is dropped and loaded anew",
        )


def row_bytes(collection: CollectionSpec) -> int:
    """Of a row, roughly."""
    return 4 * collection.dim + (0 if collection.kind == "head" else TEXT_BYTES)
