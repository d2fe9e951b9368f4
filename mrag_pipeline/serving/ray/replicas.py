"""Checks how many replicas may search one index."""

from __future__ import annotations

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.errors import ConfigError


def check_replicas(config: Config) -> None:
    """Refuses several search replicas on an index that only one process may open.

    Raises: ConfigError for several on Milvus Lite.
    """
    if config.serve.search_replicas > 1 and not wiring.index_is_shared(config):
        raise ConfigError(
            f"serve.search_replicas = {config.serve.search_replicas} on Milvus Lite",
            "1: only one process may open a Lite database",
            "set milvus.uri to a server (`milvus-lite server` serves a Lite database)",
        )
