"""Which pool a config asks for, and what every pool needs of a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.ports import WorkerPool


class Embedder(Protocol):
    """What a worker holds."""

    def embed(self, shard: Shard) -> Receipt:
        """The shard's receipt, found or earned."""


# Called once in each worker with the config, the version and the plan's fingerprint.
OpenEmbedder = Callable[[Config, str, str], Embedder]


def open_pool(
    config: Config, manifest: Manifest, open_embedder: OpenEmbedder = wiring.shard_embedder
) -> WorkerPool:
    """The pool that `workers.pool` names; close it.

    Raises: WorkerLost (no cluster), ConfigError (no GPU).
    """
    if config.workers.pool == "serial":
        from mrag_pipeline.runtime.serial import SerialPool

        return SerialPool(config, manifest, open_embedder)
    from mrag_pipeline.runtime.ray_pool import RayPool

    return RayPool(config, manifest, open_embedder)
