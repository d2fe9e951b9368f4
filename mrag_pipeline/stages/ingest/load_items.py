"""One item of the load phase: builds one collection of a version from what is staged.

A collection is built whole or not at all, so an item whose worker died is done again from the
beginning. One worker at a time may do it: it writes. One that is cut off but lives may insert
beside it; the count of rows afterwards, and `verify`, find that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.errors import VerifyFailed
from mrag_pipeline.ports import CollectionSpec, Staging, VersionBuilds
from mrag_pipeline.stages.thread_pool import Stopped

if TYPE_CHECKING:
    import pyarrow as pa

_TEXT_BYTES = 1_000  # of a row that holds a chunk's text


@dataclass(frozen=True, slots=True)
class LoadItem:
    """Build a collection, unless it is complete."""

    index: int  # the collection's number
    num_rows: int  # that it has then
    num_bytes: int
    is_stale: bool = False  # it is built anew however complete it looks


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a `LoadItem`."""

    collection: int  # its number
    was_built: bool


@dataclass(frozen=True, slots=True)
class Loader:
    """Does the items of a version's load."""

    manifest: Manifest
    staging: Staging
    index: VersionBuilds
    collections: Sequence[CollectionSpec]
    advance: Callable[[int], None] = lambda _: None  # told of rows; from several threads
    reported: Counter[int] = field(default_factory=Counter)  # rows, by collection
    _stopped: Event = field(default_factory=Event)

    def __call__(self, item: LoadItem) -> Loaded:
        """Builds the item's collection.

        Raises: VerifyFailed if it holds another number of rows then; IndexBusy, IndexUnavailable,
            PlanRefused; Stopped after `stop`.
        """
        collection = self.collections[item.index]
        if not item.is_stale and self.index.is_complete(collection, item.num_rows):
            return Loaded(item.index, was_built=False)

        def on_rows(rows: int) -> None:
            if self._stopped.is_set():
                raise Stopped
            self.reported[item.index] += rows
            self.advance(rows)

        tables = self._tables(item.index)
        is_live = self.index.live() == self.manifest.version
        if is_live and self.index.damage(collection.name) is not None:
            num_rows = self.index.rebuild(collection, tables)  # no reader can use it
        else:
            num_rows = self.index.load(collection, tables, on_rows)
        if num_rows != item.num_rows:
            raise VerifyFailed(
                f"{collection.name} holds {num_rows} rows after loading",
                f"{item.num_rows}, as the shards' receipts say",
                "run the same command again: the collection is dropped and loaded anew",
            )
        return Loaded(item.index, was_built=True)

    def stop(self) -> None:
        """Loads in other threads end at their next rows."""
        self._stopped.set()

    def _tables(self, number: int) -> Iterator[pa.Table]:
        heads = self.manifest.encoder.heads
        for shard in self.manifest.shards:
            if number < len(heads):
                yield self.staging.head(shard.index, heads[number])
            else:
                yield self.staging.chunks(shard.index)


def load_items(
    collections: Sequence[CollectionSpec], num_chunks: int, is_stale: bool
) -> list[LoadItem]:
    """One for each collection, in their order."""
    return [
        LoadItem(number, num_chunks, num_chunks * _row_bytes(collection), is_stale)
        for number, collection in enumerate(collections)
    ]


def _row_bytes(collection: CollectionSpec) -> int:
    return 4 * collection.dim + (0 if collection.kind == "head" else _TEXT_BYTES)
