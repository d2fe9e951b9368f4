"""Opens the worker pool that a config names."""

from __future__ import annotations

from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.ports import WorkerPool
from mrag_pipeline.runtime.embedder import OpenEmbedder
from mrag_pipeline.wiring.embedders import shard_embedder


def open_pool(
    config: Config, manifest: Manifest, open_embedder: OpenEmbedder = shard_embedder
) -> WorkerPool:
    """The pool that `workers.pool` names; close it.

    Raises: WorkerLost (no cluster), ConfigError (no GPU).
    """
    if config.workers.pool == "serial":
        from mrag_pipeline.runtime.serial import SerialPool

        return SerialPool(config, manifest, open_embedder)
    from mrag_pipeline.runtime.ray_pool import RayPool

    return RayPool(config, manifest, open_embedder)
