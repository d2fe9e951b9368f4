"""All staged shards of a version: those it was built from, and those of its syncs.

Memory: 12 bytes for each chunk that a sync of the version staged or removed, and a shard.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import DeltaStaging, Staging
from mrag_pipeline.stages.versions.staged_proofs import StagedProofs, shard_proofs

if TYPE_CHECKING:
    import pyarrow as pa


log = logging.getLogger(__name__)

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StagedShard:
    """A shard of a version's staging: of its build (0), or of its sync with that number."""

    sync: int
    number: int


@dataclass(slots=True)
class StagedVersion:
    """Where the chunks of a version are staged; the newest wins.

    Shards that cannot be read are passed over: the others restore what is theirs.
    """

    base: Staging
    deltas: list[DeltaStaging]
    _synced: tuple[Ids, NDArray[np.int32]] | None = None  # rising ids; the last sync of each
    _unreadable: frozenset[StagedShard] | None = None  # whose chunks are not known
    _proofs: StagedProofs | None = field(default=None, repr=False)

    @classmethod
    def open(
        cls,
        record: VersionRecord,
        base: Staging,
        delta: Callable[[int], DeltaStaging],
    ) -> StagedVersion | None:
        """The version's staging; None if a part of it is not here.

        Args:
            delta: the staging of the sync with that number.
        """
        deltas = [delta(number) for number in range(1, record.syncs + 1)]
        if base.manifest() is None or any(delta.manifest() is None for delta in deltas):
            return None
        return cls(base, deltas)

    def shards(self) -> Iterator[StagedShard]:
        """Every shard, oldest first."""
        for sync, staging in enumerate((self.base, *self.deltas)):
            for number in _numbers(staging):
                yield StagedShard(sync, number)

    def describe(self, shard: StagedShard) -> str:
        """Where it is, for people."""
        return f"{self._staging(shard).describe()} shard {shard.number}"

    def read(self, shard: StagedShard, heads: Sequence[Head]) -> None:
        """Reads every file of a shard, which compares its hash.

        Raises: StagingError if one is missing or damaged.
        """
        staging, number = self._staging(shard), shard.number
        staging.chunks(number)
        staging.sums(number)
        staging.documents(number)
        staging.dead_letters(number)
        for head in heads:
            staging.head(number, head)

    def chunk_ids(self) -> Iterator[Ids]:
        """The ids that the version should have, each once: those of all shards that can be read.

        Shard by shard, rising in each.
        Raises: StagingError if what a sync removed cannot be read.
        """
        unreadable = set()
        for shard in self.shards():
            ids = _ids(self._staging(shard), shard.number)
            if ids is None:
                unreadable.add(shard)
            else:
                yield np.unique(ids[self._is_current(shard, ids)])
        self._unreadable = frozenset(unreadable)

    def is_whole(self) -> bool:
        """Whether the chunks of every shard are known.

        Raises: StagingError if what a sync removed cannot be read.
        """
        return not self._unreadable_shards()

    def tables(self, head: Head | None) -> Iterator[pa.Table]:
        """The rows of `chunk_ids`, of one head or (None) of the chunks collection.

        Raises: StagingError if what a sync removed cannot be read.
        """
        unreadable = self._unreadable_shards()
        for shard in self.shards():
            if shard in unreadable:
                continue
            staging, number = self._staging(shard), shard.number
            try:
                table = staging.chunks(number) if head is None else staging.head(number, head)
            except StagingError as error:
                log.warning("staged_shard_unreadable shard=%d why=%s", number, error.found)
                continue
            places = np.flatnonzero(self._is_current(shard, table.column("chunk_id").to_numpy()))
            if len(places):
                yield table.take(places)

    def proofs(self, ids: Sequence[int]) -> Mapping[int, str]:
        """What proves these chunks, of shards that can be read.

        All are read once and kept in a file, if they are many: a hundred bytes a chunk.
        Computed from the staged rows where staging has no proofs either: mrag 0.1 wrote none.
        """
        if self._proofs is None:
            self._proofs = StagedProofs(self._shard_proofs())
        return self._proofs.of(ids)

    def _shard_proofs(self) -> Iterator[tuple[Ids, list[str]]]:
        for shard in self.shards():
            try:
                ids, proofs = shard_proofs(self._staging(shard), shard.number)
            except StagingError:
                continue  # the audit of staging names the file
            places = np.flatnonzero(self._is_current(shard, ids))
            yield ids[places], [proofs[place] for place in places]

    def _is_current(self, shard: StagedShard, ids: Ids) -> NDArray[np.bool_]:
        """Which of a shard's chunks no later sync has removed or staged again."""
        if self._synced is None:
            self._synced = _last_syncs(self.deltas)
        synced_ids, last_syncs = self._synced
        if not len(synced_ids):
            return np.ones(len(ids), bool)
        places = np.minimum(np.searchsorted(synced_ids, ids), len(synced_ids) - 1)
        is_superseded = (synced_ids[places] == ids) & (last_syncs[places] > shard.sync)
        current: NDArray[np.bool_] = ~is_superseded
        return current

    def _unreadable_shards(self) -> frozenset[StagedShard]:
        if self._unreadable is None:
            for _ in self.chunk_ids():
                pass  # the shards that cannot be read are known then
        assert self._unreadable is not None
        return self._unreadable

    def _staging(self, shard: StagedShard) -> Staging:
        return self.deltas[shard.sync - 1] if shard.sync else self.base


def _last_syncs(deltas: Sequence[DeltaStaging]) -> tuple[Ids, NDArray[np.int32]]:
    """The chunks that syncs removed or staged, rising, and the last sync that did so of each."""
    ids, syncs = np.zeros(0, np.int64), np.zeros(0, np.int32)
    for sync, delta in enumerate(deltas, 1):
        removed = np.array([mark.id for mark in delta.removed()], np.int64)
        staged = (_ids(delta, number) for number in _numbers(delta))
        own = np.unique(np.concatenate([removed, *(part for part in staged if part is not None)]))
        is_kept = ~np.isin(ids, own, assume_unique=True)
        ids = np.concatenate([ids[is_kept], own])
        syncs = np.concatenate([syncs[is_kept], np.full(len(own), sync, np.int32)])
    order = np.argsort(ids)
    return ids[order], syncs[order]


def _numbers(staging: Staging) -> list[int]:
    manifest = staging.manifest()
    return [shard.index for shard in manifest.shards] if manifest is not None else []


def _ids(staging: Staging, shard: int) -> Ids | None:
    """The shard's chunks, from whichever of its files can be read; None if none of them can."""
    try:
        return staging.chunk_ids(shard)
    except StagingError:
        try:
            ids: Ids = staging.chunks(shard)["chunk_id"].to_numpy()
        except StagingError as error:
            log.warning("staged_shard_unreadable shard=%d why=%s", shard, error.found)
            return None
    return ids
