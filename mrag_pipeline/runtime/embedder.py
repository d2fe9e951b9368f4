"""What embeds shards in a worker of any pool, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.ports import Work
from mrag_pipeline.wiring.embedders import shard_embedder


class Embedder(Protocol):
    """What a worker holds."""

    def embed(self, shard: Shard) -> Receipt:
        """Embeds the shard unless it is staged already; returns its receipt."""


# Called once in each worker with the config, the version and the plan's fingerprint.
OpenEmbedder = Callable[[Config, str, str], Embedder]


@dataclass(frozen=True, slots=True)
class EmbedWork:
    """Opens the work of embedding a plan's shards; it is sent to each worker."""

    version: str
    fingerprint: str
    open_embedder: OpenEmbedder

    def __call__(self, config: Config) -> Work:
        """Loads the model."""
        return self.open_embedder(config, self.version, self.fingerprint).embed


def embed_work(manifest: Manifest, open_embedder: OpenEmbedder = shard_embedder) -> EmbedWork:
    """The work of embedding this plan's shards."""
    return EmbedWork(manifest.version, manifest.fingerprint, open_embedder)
