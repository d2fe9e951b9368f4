"""How reconciling is cut into items."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.stages.ingest.reconcile_items import reconcile_items
from tests.support.fake_staging import a_manifest


@pytest.mark.parametrize("num_shards", [0, 1, 5, 16, 65, 1_000])
def test_every_shard_is_in_one_item_and_the_last_ones_are_small(num_shards: int) -> None:
    """So that no worker waits long for another's last item, and sending items costs little."""
    items = list(reconcile_items(a_manifest(num_shards=num_shards)))
    assert [shard for item in items for shard in item.shards] == [*range(num_shards)]
    assert [item.index for item in items] == [*range(len(items))]
    sizes = [len(item.shards) for item in items]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-10:] == [1] * min(10, num_shards)
    assert all(size <= 16 for size in sizes)
    assert len(items) <= 15 + num_shards / 2


def test_an_item_reads_little_of_large_shards() -> None:
    """Two of 64 MB, which workers read at a time; so many are left for other workers."""
    large = (Slice("large.jsonl", "file", 0, 1, 64_000_000, "stamp"),)
    shards = tuple(Shard(number, large) for number in range(100))
    items = reconcile_items(replace(a_manifest(num_shards=0), shards=shards))
    assert {len(item.shards) for item in items} == {1, 2}
