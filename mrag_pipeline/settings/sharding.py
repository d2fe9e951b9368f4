"""`[sharding]`: how the corpus is cut into shards."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Amount, PositiveCount


@dataclass(frozen=True, slots=True)
class ShardingSpec:
    """How large a shard is."""

    shard_mb: Amount = 0.0  # of source; 0: a 64th of the corpus, between 0.125 and 16 MB
    max_files: PositiveCount = 2_000  # in one shard, for folders of many small files
