"""All staged shards of a version: those it was built from, and those of its syncs.

Memory: 12 bytes for each chunk that a sync of the version staged or removed, and a shard.
Shape legend: n chunks of a shard that are the version's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.id_sets import IdSum
from mrag_pipeline.domain.proofs import UNPROVEN
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import DeltaStaging, Staging
from mrag_pipeline.stages.versions.staged_proofs import StagedProofs, proven_chunks

if TYPE_CHECKING:
    import pyarrow as pa


log = logging.getLogger(__name__)

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StagedShard:
    """A shard of a version's staging: of its build (0), or of its sync with that number."""

    sync: int
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class StagedChunks:
    """What staging says of the chunks of a shard."""

    ids: Ids  # (n,), rising
    proofs: list[str]  # (n,): what proves each; UNPROVEN if the shard's file cannot be read
    table: pa.Table | None  # n rows, as `Staging.chunks` gives them; None if it cannot be read

    def between(self, start: int, stop: int) -> StagedChunks:
        """Those at the places `start` to `stop` - 1."""
        rows = None if self.table is None else self.table.slice(start, stop - start)
        return StagedChunks(self.ids[start:stop], self.proofs[start:stop], rows)

    def of(self, ids: Ids) -> StagedChunks:
        """Those of them that have these ids."""
        places = np.flatnonzero(np.isin(self.ids, ids))
        rows = None if self.table is None else self.table.take(places)
        return StagedChunks(self.ids[places], [self.proofs[place] for place in places], rows)


@dataclass(slots=True)
class StagedVersion:
    """Where the chunks of a version are staged; the newest wins.

    Shards that cannot be read are passed over: the others restore what is theirs.
    """

    base: Staging
    deltas: list[DeltaStaging]
    _synced: tuple[Ids, NDArray[np.int32]] | None = None  # rising ids; the last sync of each
    _id_sums: dict[StagedShard, IdSum] | None = None  # of the shards whose chunks are known
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

    def num_shards(self) -> int:
        """How many `shards` there are."""
        return sum(len(_numbers(staging)) for staging in (self.base, *self.deltas))

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
        id_sums = {}
        for shard in self.shards():
            ids = self._own_ids(shard)
            if ids is not None:
                id_sums[shard] = IdSum.of(ids)
                yield ids
        self._id_sums = id_sums

    def id_sums(self) -> Mapping[StagedShard, IdSum]:
        """What `chunk_ids` of each shard add up to; none of a shard that cannot be read.

        Raises: StagingError if what a sync removed cannot be read.
        """
        if self._id_sums is None:
            for _ in self.chunk_ids():
                pass  # they are known then
        assert self._id_sums is not None
        return self._id_sums

    def located(self, ids: Ids) -> Iterator[tuple[StagedShard, Ids]]:
        """Which of these chunks are in which shard; a shard without any of them is left out."""
        for shard in self.id_sums():
            own = self._own_ids(shard)
            common = ids[:0] if own is None else np.intersect1d(own, ids)
            if len(common):
                yield shard, common

    def is_whole(self) -> bool:
        """Whether the chunks of every shard are known.

        Raises: StagingError if what a sync removed cannot be read.
        """
        return len(self.id_sums()) == self.num_shards()

    def chunks(self, shard: StagedShard) -> StagedChunks | None:
        """The shard's part of `chunk_ids`, what proves each chunk, and the chunks rows.

        None if not even the ids can be read.
        Raises: StagingError if what a sync removed cannot be read.
        """
        try:
            table, proofs = proven_chunks(self._staging(shard), shard.number)
        except StagingError as error:
            log.warning("staged_shard_unreadable shard=%d why=%s", shard.number, error.found)
            own = self._own_ids(shard)
            return None if own is None else StagedChunks(own, [UNPROVEN] * len(own), None)
        ids, places = np.unique(table.column("chunk_id").to_numpy(), return_index=True)
        is_current = self._is_current(shard, ids)
        places = places[is_current]
        rows = table.take(places)
        return StagedChunks(ids[is_current], [proofs[place] for place in places], rows)

    def can_read(self, shard: StagedShard, head: Head | None) -> bool:
        """Whether `rows` has an answer; reads the file."""
        return self._table(shard, head) is not None

    def rows(self, shard: StagedShard, head: Head | None, ids: Ids) -> pa.Table | None:
        """The rows of some of a shard's chunks, of one head or (None) of the chunks collection.

        None if the file cannot be read.
        """
        table = self._table(shard, head)
        if table is None:
            return None
        all_ids, places = np.unique(table.column("chunk_id").to_numpy(), return_index=True)
        return table.take(places[np.isin(all_ids, ids)])

    def tables(self, head: Head | None) -> Iterator[pa.Table]:
        """The rows of `chunk_ids`, of one head or (None) of the chunks collection.

        Raises: StagingError if what a sync removed cannot be read.
        """
        for shard in self.id_sums():
            table = self._table(shard, head)
            if table is None:
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
            chunks = self.chunks(shard)
            if chunks is not None and chunks.table is not None:  # else its audit names the file
                yield chunks.ids, chunks.proofs

    def _table(self, shard: StagedShard, head: Head | None) -> pa.Table | None:
        """The rows of a shard's file; None if it cannot be read."""
        staging, number = self._staging(shard), shard.number
        try:
            return staging.chunks(number) if head is None else staging.head(number, head)
        except StagingError as error:
            log.warning("staged_shard_unreadable shard=%d why=%s", number, error.found)
            return None

    def _own_ids(self, shard: StagedShard) -> Ids | None:
        """The shard's part of `chunk_ids`, rising; None if it cannot be read."""
        ids = _ids(self._staging(shard), shard.number)
        return None if ids is None else np.unique(ids[self._is_current(shard, ids)])

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

    def _staging(self, shard: StagedShard) -> Staging:
        return self.deltas[shard.sync - 1] if shard.sync else self.base


def _last_syncs(deltas: Sequence[DeltaStaging]) -> tuple[Ids, NDArray[np.int32]]:
    """The chunks that syncs removed or staged, rising, and the last sync that did so of each."""
    ids, syncs = np.zeros(0, np.int64), np.zeros(0, np.int32)
    for sync, delta in enumerate(deltas, 1):
        removed = [np.array([mark.id for mark in marks], np.int64) for marks in delta.removed()]
        staged = (_ids(delta, number) for number in _numbers(delta))
        parts = [*removed, *(part for part in staged if part is not None)]
        own = np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))
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
