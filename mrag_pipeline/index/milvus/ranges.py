"""Collections that several loaders fill: each attempt at a range is a partition of its own.

A server keeps rows whose primary key exists (2.3.5), so an attempt cannot be repeated in place. A
partition can be counted before there is an index, and dropped; an insert that names a dropped one
is refused. A loader that lives on after it was given up therefore adds nothing to what is kept.
Decision 0117.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from mrag_pipeline.errors import IndexUnavailable, VerifyFailed
from mrag_pipeline.index.milvus.collections import MilvusCollections
from mrag_pipeline.index.milvus.connection import translated
from mrag_pipeline.index.milvus.database import DEFAULT_PARTITION
from mrag_pipeline.index.milvus.schema import vector_type
from mrag_pipeline.ports import CollectionSpec, RangedLoads

if TYPE_CHECKING:
    import pyarrow as pa

# A channel is one data node's, and has segments of its own in each partition: so many channels that
# a range still fills a segment (1 GB by default) in each, and no more than a server allows.
MAX_CHANNELS = 16
_CHANNEL_BYTES = 1e9


class MilvusRanges(MilvusCollections):
    """The RangedLoads port on a Milvus server."""

    def ranges(self) -> RangedLoads | None:
        """Itself; None for Lite, which one process has open, and where the server imports files."""
        return None if self._release.is_lite or self._import is not None else self

    def begin_ranges(self, collection: CollectionSpec, rows: Mapping[str, int]) -> set[str]:
        """Keeps what a load that was cut short has left of it, or creates it anew."""
        name = collection.name
        with translated(f"cannot load {name}"):
            if self._exists(name) and not self._is_indexed(name) and self._is_alike(collection):
                whole = self._keep_whole(name, rows)
                if whole:  # else it may be what another kind of load has left, with one channel
                    return set(whole)
        self.drop(name)
        with translated(f"cannot load {name}"):
            self._create(collection, _channels(collection, rows))
        return set()

    def load_range(
        self,
        collection: CollectionSpec,
        name: str,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None],
    ) -> int:
        """Inserts the rows into a partition that no other attempt has."""
        partition, num_rows = f"{name}_{secrets.token_hex(4)}", 0
        with translated(f"cannot load {name} of {collection.name}"):
            timeout_s = self._spec.timeout_s
            self._client.create_partition(collection.name, partition, timeout=timeout_s)
            # Whoever ends the collection indexes it first and then looks for partitions: either
            # that one sees this partition, or this one sees the index.
            if self._is_indexed(collection.name):
                self._drop_partition(collection.name, partition)
                raise IndexUnavailable(
                    f"{collection.name} was indexed by another load while {name} began",
                    "one load of a collection",
                    "run the same command again",
                )
            with self._insert_slots:
                for batch in self._batches(collection, tables):
                    self._insert(collection, batch, partition)
                    num_rows += batch.num_rows
                    on_rows(batch.num_rows)
        return num_rows

    def end_ranges(self, collection: CollectionSpec, rows: Mapping[str, int]) -> int:
        """Partitions that are not kept are dropped, also those that came during the index build."""
        name = collection.name
        with translated(f"cannot load {name}"):
            whole = self._keep_whole(name, rows)
            if whole is None:
                raise VerifyFailed(
                    f"{name} holds rows outside of its ranges",
                    "one load of a collection",
                    "run the same command again: the collection is loaded anew",
                )
            if missing := sorted(rows.keys() - whole.keys()):
                raise VerifyFailed(
                    f"{name} lacks {len(missing)} of {len(rows)} ranges after loading, such as "
                    f"{missing[0]}",
                    "each range once, with the rows of its shards' receipts",
                    "run the same command again: only those are loaded again",
                )
            self._create_index(collection)
            for partition in {*self._partitions(name)} - {DEFAULT_PARTITION, *whole.values()}:
                self._drop_partition(name, partition)
            self._ensure_loaded(name)
        return self.count(name)

    # -------------------------------------------------------------- inside
    def _keep_whole(self, name: str, rows: Mapping[str, int]) -> dict[str, str] | None:
        """Drops every attempt but one whole one at each range; returns its partition by range.

        None if there are rows outside of all ranges: another kind of load has left them.
        """
        self._client.flush(name, timeout=self._spec.build_timeout_s)
        whole: dict[str, str] = {}
        for partition in self._partitions(name):
            in_range = partition.rpartition("_")[0]
            num_rows = self._partition_rows(name, partition)
            if partition == DEFAULT_PARTITION:
                if num_rows:
                    return None
            elif rows.get(in_range) == num_rows and in_range not in whole:
                whole[in_range] = partition
            else:
                self._drop_partition(name, partition)
        return whole

    def _partitions(self, name: str) -> list[str]:
        return list(self._client.list_partitions(name, timeout=self._spec.timeout_s))

    def _is_alike(self, collection: CollectionSpec) -> bool:
        """Whether what exists has the vectors that the config asks for now."""
        if collection.lexical is not None:
            return True
        told = self._client.describe_collection(collection.name, timeout=self._spec.timeout_s)
        return vector_type(told) == self._spec.vector_dtype

    def _partition_rows(self, name: str, partition: str) -> int:
        """As stored, rows of equal ids counted each; right after a flush."""
        stats = self._client.get_partition_stats(name, partition, timeout=self._spec.timeout_s)
        return int(stats["row_count"])

    def _drop_partition(self, name: str, partition: str) -> None:
        timeout_s = self._spec.timeout_s
        if self._client.has_partition(name, partition, timeout=timeout_s):
            # A server refuses to drop one that is in memory, as one that came late may be.
            self._client.release_partitions(name, [partition], timeout=timeout_s)
            self._client.drop_partition(name, partition, timeout=timeout_s)


def _channels(collection: CollectionSpec, rows: Mapping[str, int]) -> int:
    range_bytes = 4 * collection.dim * sum(rows.values()) / max(1, len(rows))
    return max(1, min(MAX_CHANNELS, int(range_bytes / _CHANNEL_BYTES)))
