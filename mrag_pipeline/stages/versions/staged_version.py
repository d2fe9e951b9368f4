"""All staged shards of a version: those it was built from, and those of its syncs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.proofs import PROOF, UNPROVEN, proofs_of
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import DeltaStaging, Staging
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.stages.versions.stored_rows import staged_chunks

if TYPE_CHECKING:
    import pyarrow as pa


log = logging.getLogger(__name__)


@dataclass(slots=True)
class StagedVersion:
    """Where each chunk of a version is staged; the newest wins.

    Shards that cannot be read are passed over: the others restore what is theirs.
    """

    base: Staging
    deltas: list[DeltaStaging]
    _staged_in: dict[int, tuple[Staging, int]] = field(default_factory=dict)
    _proofs: dict[int, str] | None = None
    _num_unreadable: int = 0  # shards whose chunks are not known

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

    def shards(self) -> Iterator[tuple[str, int, Staging]]:
        """Every shard, oldest first: where it is, its number and its staging."""
        for staging in (self.base, *self.deltas):
            manifest = staging.manifest()
            for shard in manifest.shards if manifest is not None else ():
                yield f"{staging.describe()} shard {shard.index}", shard.index, staging

    def chunk_ids(self) -> NDArray[np.int64]:
        """The ids that the version should have, sorted: those of all shards that can be read.

        Raises: StagingError if what a sync removed cannot be read.
        """
        return np.array(sorted(self._locate()), np.int64)

    def is_whole(self) -> bool:
        """Whether the chunks of every shard are known.

        Raises: StagingError if what a sync removed cannot be read.
        """
        self._locate()
        return not self._num_unreadable

    def tables(self, head: Head | None, ids: NDArray[np.int64]) -> Iterator[pa.Table]:
        """The rows of these chunks, of one head or (None) of the chunks collection.

        Raises: StagingError if what a sync removed cannot be read.
        """
        wanted: dict[tuple[int, int], tuple[Staging, list[int]]] = {}
        for chunk_id in ids.tolist():
            if chunk_id in self._locate():
                staging, shard = self._staged_in[chunk_id]
                wanted.setdefault((id(staging), shard), (staging, []))[1].append(chunk_id)
        for (_, shard), (staging, chunk_ids) in wanted.items():
            try:
                table = staging.chunks(shard) if head is None else staging.head(shard, head)
            except StagingError as error:
                log.warning("staged_shard_unreadable shard=%d why=%s", shard, error.found)
                continue
            mask = np.isin(table.column("chunk_id").to_numpy(), chunk_ids)
            yield table.take(np.flatnonzero(mask))

    def proofs(self) -> Mapping[int, str]:
        """What proves each chunk, of all shards that can be read: a hundred bytes a chunk.

        Computed from the staged rows where staging has no proofs either: mrag 0.1 wrote none.
        """
        if self._proofs is None:
            self._proofs = {}
            located = self._locate()
            for place in set(located.values()):
                try:
                    proofs = _shard_proofs(*place)
                except StagingError:
                    continue  # the audit of staging names the file
                self._proofs |= {
                    chunk_id: proof
                    for chunk_id, proof in proofs.items()
                    if located.get(chunk_id) == place  # a later sync may have changed the chunk
                }
        return self._proofs

    def _ids(self, staging: Staging, shard: int) -> list[int]:
        """The shard's chunks, from whichever of its files can be read."""
        try:
            ids: list[int] = staging.chunk_ids(shard).tolist()
        except StagingError:
            try:
                ids = staging.chunks(shard)["chunk_id"].to_pylist()
            except StagingError as error:
                log.warning("staged_shard_unreadable shard=%d why=%s", shard, error.found)
                self._num_unreadable += 1
                return []
        return ids

    def _locate(self) -> dict[int, tuple[Staging, int]]:
        if not self._staged_in:
            for staging in (self.base, *self.deltas):
                if staging is not self.base:
                    for mark in staging.removed():  # type: ignore[attr-defined]
                        self._staged_in.pop(mark.id, None)
                manifest = staging.manifest()
                for shard in manifest.shards if manifest is not None else ():
                    for chunk_id in self._ids(staging, shard.index):
                        self._staged_in[chunk_id] = (staging, shard.index)
        return self._staged_in


def _shard_proofs(staging: Staging, shard: int) -> Mapping[int, str]:
    chunks = staging.chunks(shard)
    ids, proofs = chunks.column("chunk_id").to_pylist(), chunks.column(PROOF).to_pylist()
    if UNPROVEN in proofs:
        manifest = staging.manifest()
        assert manifest is not None  # or nothing could have been located in it
        heads = [vector_matrix(staging.head(shard, h)["vector"]) for h in manifest.encoder.heads]
        standard = vector_matrix(chunks["vector"])
        proofs = proofs_of(staged_chunks(chunks), standard, np.stack(heads, axis=1))
    return dict(zip(ids, proofs, strict=True))
