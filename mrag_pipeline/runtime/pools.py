"""Which pool a config asks for."""

from __future__ import annotations

from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import WorkerPool


def open_pool(config: Config, manifest: Manifest) -> WorkerPool:
    """The pool that `workers.pool` names; close it.

    Raises: ConfigError, WorkerLost (no cluster).
    """
    if config.workers.pool == "serial":
        from mrag_pipeline.runtime.serial import SerialPool

        return SerialPool(config, manifest)
    if config.workers.pool == "ray":
        from mrag_pipeline.runtime.ray_pool import RayPool

        return RayPool(config, manifest)
    raise ConfigError(
        f"workers.pool = {config.workers.pool!r}", "'ray' or 'serial'", "correct it in the config"
    )
