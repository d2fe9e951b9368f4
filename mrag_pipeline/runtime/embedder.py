"""What a worker of any pool holds, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Receipt
from mrag_pipeline.domain.planning import Shard


class Embedder(Protocol):
    """What a worker holds."""

    def embed(self, shard: Shard) -> Receipt:
        """The shard's receipt, found or earned."""


# Called once in each worker with the config, the version and the plan's fingerprint.
OpenEmbedder = Callable[[Config, str, str], Embedder]
