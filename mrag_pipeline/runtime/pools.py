"""Opens the worker pool that a config names, or that the work is worth."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mrag_pipeline import environment, extras
from mrag_pipeline.config import Config
from mrag_pipeline.domain.dispatch import Limit
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.worker_plan import is_phase_worth_a_cluster, is_worth_a_cluster
from mrag_pipeline.ports import HasCapabilities, OpenPool, VersionBuilds, Work, WorkerPool
from mrag_pipeline.runtime.counted_work import CountedWork, count_retry
from mrag_pipeline.runtime.embedder import OpenEmbedder, embed_work
from mrag_pipeline.stages.ingest.load import in_threads
from mrag_pipeline.stages.ingest.load_items import is_whole, may_double
from mrag_pipeline.stages.serial_pool import SerialPool, in_this_process
from mrag_pipeline.stages.sync import apply_items
from mrag_pipeline.wiring.embedders import shard_embedder
from mrag_pipeline.wiring.kept_encoder import forget_encoder


def open_pool(
    config: Config, manifest: Manifest, open_embedder: OpenEmbedder = shard_embedder
) -> WorkerPool[Any, Any]:
    """The pool that embeds: the one `workers.pool` names, or by the plan's size. Close it.

    Without Ray, `auto` is this process whatever the size.
    Raises: WorkerLost (no cluster), ConfigError (no GPU), NotInstalled.
    """
    spec = config.workers
    check_ray(config)
    is_wanted = is_worth_a_cluster(spec, sum(shard.num_bytes for shard in manifest.shards))
    if not is_wanted or not extras.has("ray"):
        return serial_pool(_on_all_cores(config), manifest, open_embedder)
    from mrag_pipeline.runtime.ray_pool import RayPool

    forget_encoder()
    return RayPool(config, embed_work(manifest, open_embedder))


def wanted_workers(config: Config, num_bytes: int) -> dict[str, int | None]:
    """How many workers the config asks for, by what they do: `embed`, or the items of other phases.

    None: this process does it. 0: as many as the nodes that are there have room for.

    Args:
        num_bytes: of source, in all shards of the plan.
    """
    spec = config.workers
    if not extras.has("ray"):
        return {"embed": None, "other_phases": None}
    return {
        "embed": spec.count if is_worth_a_cluster(spec, num_bytes) else None,
        "other_phases": spec.of_other_phases.count if spec.pool != "serial" else None,
    }


def check_ray(config: Config) -> None:
    """A Ray that the config names can be started, as far as is known before anything is read.

    Raises: NotInstalled; ConfigError if a local one has no folder for its sockets.
    """
    spec = config.workers
    if (spec.pool == "ray" or spec.address) and not extras.has("ray"):
        raise extras.not_installed("ray", "workers.address or workers.pool = 'ray'")
    if spec.pool == "ray" and not spec.address:
        environment.sockets_folder()


def serial_pool(
    config: Config, manifest: Manifest, open_embedder: OpenEmbedder = shard_embedder
) -> SerialPool:
    """The pool that embeds in this process."""
    work = embed_work(manifest, open_embedder)
    return SerialPool(
        lambda: CountedWork(work(config)),
        config.workers.attempts,
        on_retry=count_retry,
    )


def phase_pools(
    config: Config,
    open_work: Callable[[Config], Work],
    is_shared: bool = True,
    *,
    here: OpenPool = in_this_process,
    may_double: Callable[[Any], bool] = lambda _: True,
    limit: Limit | None = None,
) -> OpenPool:
    """Opens the pool of a phase that embeds nothing: workers without a GPU, or this process.

    Only what reads more than `workers.phase_mb` goes to workers. They are not asked for an item
    again whose error is transient: the phase is repeated by whoever runs it.

    Args:
        open_work: opens in a worker what the phase does in this process.
        is_shared: whether other processes may open what the phase reads.
        here: the pool of this process.
        may_double: whether a second worker may do the item too, as that does no harm.
        limit: of items that come after the others.
    """

    def opened(work: Work, num_bytes: int) -> WorkerPool[Any, Any]:
        is_wanted = is_shared and is_phase_worth_a_cluster(config.workers, num_bytes)
        if not is_wanted or not extras.has("ray"):
            return here(CountedWork(work), num_bytes)
        from mrag_pipeline.runtime.ray_pool import RayPool

        on_cpu = config.model_copy(update={"workers": config.workers.of_other_phases})
        return RayPool(
            on_cpu,
            open_work,
            unit="item",
            repeats_errors=False,
            may_double=may_double,
            limit=limit,
        )

    return opened


def load_pools(
    config: Config, open_work: Callable[[Config], Work], index: VersionBuilds
) -> OpenPool:
    """Opens the pool that loads collections: workers, or threads of this process.

    All workers fill ranges; whole collections are loaded so many at a time as the index takes.
    """
    capabilities = index.capabilities()
    return phase_pools(
        config,
        open_work,
        capabilities.is_shared,
        here=in_threads(index),
        may_double=may_double,
        limit=Limit(capabilities.loads_at_once, is_whole),
    )


def apply_pools(
    config: Config, open_work: Callable[[Config], Work], index: HasCapabilities
) -> OpenPool:
    """Opens the pool that changes a version's rows: workers, or this process."""
    capabilities = index.capabilities()
    return phase_pools(
        config,
        open_work,
        capabilities.is_shared,
        may_double=apply_items.may_double,
        limit=Limit(capabilities.loads_at_once),
    )


def _on_all_cores(config: Config) -> Config:
    """With `auto`, one worker in place of one for each core; `serial` has the threads it names."""
    if config.workers.pool != "auto":
        return config
    threads = max(config.workers.threads, os.cpu_count() or 1)
    return config.model_copy(update={"workers": replace(config.workers, threads=threads)})
