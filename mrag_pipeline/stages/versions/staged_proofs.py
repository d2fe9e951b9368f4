"""What proves the staged chunks of a version, in a file if there are many."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.proofs import PROOF, UNPROVEN, proofs_of
from mrag_pipeline.ports import Staging
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.stages.free_space import no_space
from mrag_pipeline.stages.sorted_ids import NUM_RANGES, range_numbers, temporary_file
from mrag_pipeline.stages.spilled_rows import SpilledRows
from mrag_pipeline.stages.versions.stored_rows import staged_chunks

if TYPE_CHECKING:
    import pyarrow as pa

_PROOFS_IN_MEMORY = 50_000  # 5 MB with 12 heads; more wait on disk

Ids = NDArray[np.int64]


class StagedProofs:
    """Proofs by chunk id, in a file if they are many; one range of ids at a time is in memory."""

    def __init__(self, shards: Iterator[tuple[Ids, list[str]]]) -> None:
        """Reads all.

        Args:
            shards: chunk ids, and what proves each; no id twice, all proofs of one length.
        Raises: StorageFull.
        """
        self._file = temporary_file(_PROOFS_IN_MEMORY * 100)
        self._lengths = np.zeros(NUM_RANGES, np.int64)
        self._dtype = np.dtype([("key", np.int64), ("proof", "S1")])
        self._held: tuple[int, dict[int, str]] = (-1, {})  # a range's number, and its proofs
        first = next((shard for shard in shards if len(shard[0])), None)
        if first is None:
            return
        self._dtype = np.dtype([("key", np.int64), ("proof", f"S{max(map(len, first[1]))}")])
        with closing(SpilledRows(self._dtype, range_numbers, _PROOFS_IN_MEMORY, "proofs")) as held:
            for ids, proofs in chain((first,), shards):
                rows = np.empty(len(ids), self._dtype)
                rows["key"], rows["proof"] = ids, proofs
                held.add(rows)
            with no_space(tempfile.gettempdir(), "proofs"):
                for rows in held.buckets():
                    numbers = range_numbers(rows["key"])
                    self._file.write(rows[np.argsort(numbers, kind="stable")].tobytes())
                    self._lengths += np.bincount(numbers, minlength=NUM_RANGES)
                self._file.flush()

    def of(self, ids: Sequence[int]) -> Mapping[int, str]:
        """The proofs that there are of these chunks."""
        found: dict[int, str] = {}
        for number, own in _by_range(ids):
            proofs = self._of_range(number)
            found |= {chunk_id: proofs[chunk_id] for chunk_id in own if chunk_id in proofs}
        return found

    def _of_range(self, number: int) -> dict[int, str]:
        if self._held[0] != number:
            start, size = self._lengths[:number].sum(), self._lengths[number]
            self._file.seek(int(start) * self._dtype.itemsize)
            rows = np.frombuffer(self._file.read(int(size) * self._dtype.itemsize), self._dtype)
            texts = rows["proof"].astype(str).tolist()
            self._held = (number, dict(zip(rows["key"].tolist(), texts, strict=True)))
        return self._held[1]


def proven_chunks(staging: Staging, shard: int) -> tuple[pa.Table, list[str]]:
    """The shard's chunks, as `Staging.chunks` gives them, and what proves each.

    Raises: StagingError if one of its files cannot be read.
    """
    chunks = staging.chunks(shard)
    proofs: list[str] = chunks.column(PROOF).to_pylist()
    if UNPROVEN in proofs:
        manifest = staging.manifest()
        assert manifest is not None  # or it would have no shards
        heads = [vector_matrix(staging.head(shard, h)["vector"]) for h in manifest.encoder.heads]
        standard = vector_matrix(chunks["vector"])
        proofs = proofs_of(staged_chunks(chunks), standard, np.stack(heads, axis=1))
    return chunks, proofs


def _by_range(ids: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """The ids by ranges of `range_numbers`."""
    rising = np.sort(np.array(ids, np.int64))
    numbers = range_numbers(rising).tolist()
    for number, pairs in groupby(zip(numbers, rising.tolist(), strict=True), lambda p: p[0]):
        yield number, [chunk_id for _, chunk_id in pairs]
