"""The memory that a sync takes in its own process, by how much it changes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import IndexCapabilities, Mark
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.sync import apply_items, staged_change
from mrag_pipeline.stages.sync.apply import apply
from mrag_pipeline.stages.sync.spooled_marks import SpooledMarks
from tests.support.builds import RecordingProgress
from tests.support.fake_delta_staging import FakeDeltaStaging
from tests.support.fake_staging import HEAD_DIM, HEADS, PLAN, a_card, a_manifest

CHUNKS = 500  # of a shard, and as many that are removed for each
VECTOR = np.ones(HEAD_DIM, np.float32)
NO_ROWS = pa.table({})


class Generated(FakeDeltaStaging):
    """Shards and removals that are made when they are asked for."""

    def __init__(self, num_shards: int) -> None:
        super().__init__()
        self._num_shards = num_shards

    def receipts(self, shards: Iterable[int], fingerprint: str) -> Iterator[Receipt | None]:
        for shard in shards:
            yield Receipt(shard, fingerprint, 100, CHUNKS, 0, 0, 0, ())

    def sums(self, shard: int) -> ImportanceSums:
        return ImportanceSums(CHUNKS, np.ones(len(HEADS)), np.ones((len(HEADS), HEAD_DIM)))

    def chunk_ids(self, shard: int) -> NDArray[np.int64]:
        return np.random.default_rng(shard).integers(0, 2**63, CHUNKS)

    def head(self, shard: int, head: Any) -> Any:
        return None

    def chunks(self, shard: int) -> pa.Table:
        return NO_ROWS

    def removed(self) -> Iterator[Sequence[Mark]]:
        for shard in range(self._num_shards):
            random = np.random.default_rng((1, 1 + shard))
            ids = random.integers(0, 2**63, CHUNKS).tolist()
            yield [Mark(number, f"{shard} {number % 100}", "print") for number in ids]


class Taking:
    """An index that takes and forgets everything."""

    def __init__(self) -> None:
        self.deleted = 0

    def capabilities(self) -> IndexCapabilities:
        return IndexCapabilities("nothing", is_shared=True, loads_at_once=1, searches_at_once=1)

    def look_up(self, _: str, ids: Sequence[int], __: object) -> tuple[dict[int, str], object]:
        return dict.fromkeys(ids[:0], ""), {}

    def vectors(self, _: str, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        return dict.fromkeys(ids, VECTOR)

    def upsert(self, *_: object) -> None:
        pass

    def delete(self, _: str, ids: Sequence[int]) -> None:
        self.deleted += len(ids)

    def write_record(self, _: VersionRecord) -> None:
        pass


def a_record(manifest: Manifest, num_chunks: int) -> VersionRecord:
    sums = ImportanceSums(num_chunks, np.ones(len(HEADS)), np.ones((len(HEADS), HEAD_DIM)))
    return VersionRecord(
        index="docs",
        version=manifest.version,
        fingerprint=PLAN,
        encoder=a_card(),
        chunking=ChunkingSpec(),
        sums=sums,
        num_documents=num_chunks,
        num_chunks=num_chunks,
        num_dead_letters=0,
        created_at="2026-01-01T00:00:00+00:00",
        corpus="",
        config={},
    )


def peak(run: Callable[[], object]) -> int:
    """Bytes that were held at most. The least of three: other threads may take memory too."""
    found = []
    for _ in range(3):
        tracemalloc.start()
        run()
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(found)


def test_applying_takes_no_more_memory_for_more_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times as many chunks are added and removed: the same memory at most."""
    monkeypatch.setattr(staged_change, "ROWS_IN_MEMORY", 1_000)
    monkeypatch.setattr(staged_change, "IDS_AT_ONCE", 5_000)
    monkeypatch.setattr("mrag_pipeline.stages.sorted_ids._IDS_IN_MEMORY", 5_000)
    monkeypatch.setattr(apply_items, "SUMS_IDS", 1_000)
    monkeypatch.setattr(apply_items, "DELETED_IDS", 1_000)

    def applied(num_shards: int) -> Callable[[], None]:
        manifest = a_manifest(num_shards=num_shards)
        record = a_record(manifest, 10 * num_shards * CHUNKS)

        def run() -> None:
            staging, index = Generated(num_shards), Taking()
            staging.write_manifest(manifest)
            progress = RecordingProgress()
            done = apply(record, manifest, staging, index, 0, IngestSpec(), progress)  # type: ignore[arg-type]
            assert (done.chunks_added, done.chunks_removed) == (num_shards * CHUNKS,) * 2
            assert index.deleted == (len(HEADS) + 1) * num_shards * CHUNKS

        return run

    assert peak(applied(160)) < 1.3 * peak(applied(20))


def test_marks_on_their_way_to_staging_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand of them take 30 MB as a list."""
    monkeypatch.setattr("mrag_pipeline.stages.sync.spooled_marks._BYTES_IN_MEMORY", 100_000)

    def spooled(num_blocks: int) -> Callable[[], None]:
        def run() -> None:
            with closing(SpooledMarks()) as marks:
                for number in range(num_blocks):
                    ids = range(1_000 * number, 1_000 * (number + 1))
                    marks.add(number, [Mark(i, f"document {i}", "a" * 32) for i in ids])
                assert sum(map(len, marks)) == 1_000 * num_blocks

        return run

    assert peak(spooled(40)) < 1.3 * peak(spooled(5)) < 3e6
