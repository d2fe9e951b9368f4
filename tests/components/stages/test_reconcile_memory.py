"""The memory that reconciling takes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Receipt
from mrag_pipeline.ports import DocumentRow
from mrag_pipeline.settings.ingest import IngestSpec
from mrag_pipeline.stages.ingest import reconcile as module
from mrag_pipeline.stages.ingest import reconcile_items
from mrag_pipeline.stages.ingest.reconcile import reconcile
from tests.support.builds import RecordingProgress, a_document
from tests.support.fake_staging import FakeStaging, a_manifest

DOCUMENTS = [a_document(i) for i in range(12)]


class Generated(FakeStaging):
    """Shards of 2,000 chunks of 100 documents, made when they are asked for."""

    def receipt(self, shard: int, fingerprint: str) -> Receipt:
        return Receipt(shard, fingerprint, 100, 2_000, 0, 0, 0, ())

    def documents(self, shard: int) -> list[DocumentRow]:
        return [DocumentRow(f"{shard} {at}", "", "", 20) for at in range(100)]

    def sums(self, shard: int) -> ImportanceSums:
        return ImportanceSums(2_000, np.ones(2), np.ones((2, 4)))

    def all_chunk_ids(self, shard: int) -> NDArray[np.int64]:
        return np.random.default_rng(shard).integers(0, 2**63, 2_000)


def test_memory_does_not_grow_with_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times the shards: the same memory at most."""
    monkeypatch.setattr(module, "IDS_IN_MEMORY", 10_000)
    monkeypatch.setattr(reconcile_items, "ITEM_SHARDS", 1)

    def peak(num_shards: int) -> int:
        manifest, staging = a_manifest(num_shards=num_shards), Generated()
        tracemalloc.start()
        staged = reconcile(manifest, staging, IngestSpec(), RecordingProgress())
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert staged.num_chunks == 2_000 * num_shards
        return found

    # The least of three: other threads of the process may take memory meanwhile.
    small, large = (min(peak(num_shards) for _ in range(3)) for num_shards in (20, 160))
    assert large < 1.3 * small
