"""What embeds shards in a worker of any pool, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Receipt
from mrag_pipeline.domain.planning import Shard


class Embedder(Protocol):
    """What a worker holds."""

    def embed(self, shard: Shard) -> Receipt:
        """Embeds the shard unless it is staged already; returns its receipt."""


# Called once in each worker with the config, the version and the plan's fingerprint.
OpenEmbedder = Callable[[Config, str, str], Embedder]
