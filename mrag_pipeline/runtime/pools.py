"""Opens the worker pool that a config names, or that the work is worth."""

from __future__ import annotations

import os
from dataclasses import replace

from mrag_pipeline import extras
from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.worker_plan import is_worth_a_cluster
from mrag_pipeline.ports import WorkerPool
from mrag_pipeline.runtime.embedder import OpenEmbedder
from mrag_pipeline.wiring.embedders import shard_embedder
from mrag_pipeline.wiring.kept_encoder import forget_encoder


def open_pool(
    config: Config, manifest: Manifest, open_embedder: OpenEmbedder = shard_embedder
) -> WorkerPool:
    """The pool that `workers.pool` names; `auto` decides by the size of the plan. Close it.

    Without Ray, `auto` is this process whatever the size.
    Raises: WorkerLost (no cluster), ConfigError (no GPU), NotInstalled.
    """
    spec = config.workers
    is_wanted = is_worth_a_cluster(spec, sum(shard.num_bytes for shard in manifest.shards))
    if is_wanted and not extras.has("ray"):
        if spec.pool == "ray" or spec.address:
            raise extras.not_installed("ray", "workers.address or workers.pool = 'ray'")
        is_wanted = False
    if not is_wanted:
        from mrag_pipeline.runtime.serial import SerialPool

        return SerialPool(_on_all_cores(config), manifest, open_embedder)
    from mrag_pipeline.runtime.ray_pool import RayPool

    forget_encoder()
    return RayPool(config, manifest, open_embedder)


def _on_all_cores(config: Config) -> Config:
    """With `auto`, one worker in place of one for each core; `serial` has the threads it names."""
    if config.workers.pool != "auto":
        return config
    threads = max(config.workers.threads, os.cpu_count() or 1)
    return config.model_copy(update={"workers": replace(config.workers, threads=threads)})
