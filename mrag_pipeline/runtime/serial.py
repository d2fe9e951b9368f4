"""Embeds shards one after the other in this process: for tests, debugging and pdb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard
from mrag_pipeline.errors import TransientError
from mrag_pipeline.runtime.embedder import Embedder, OpenEmbedder
from mrag_pipeline.wiring.embedders import shard_embedder


class SerialPool:
    """The worker pool without workers."""

    def __init__(
        self,
        config: Config,
        manifest: Manifest,
        open_embedder: OpenEmbedder = shard_embedder,
    ) -> None:
        self._config = config
        self._manifest = manifest
        self._open_embedder = open_embedder

    def describe(self) -> str:
        """One line for people."""
        return "this process"

    def run(self, shards: Iterable[Shard]) -> Iterator[Receipt]:
        """A receipt for each shard, in order.

        A shard whose error is transient is tried `workers.attempts` times in all.
        Raises: the shard's own last error, or at once its permanent error.
        """
        embedder = self._open_embedder(
            self._config, self._manifest.version, self._manifest.fingerprint
        )
        for shard in shards:
            yield self._tried(embedder, shard)

    def close(self) -> None:
        """Nothing to end."""

    def _tried(self, embedder: Embedder, shard: Shard) -> Receipt:
        for _ in range(self._config.workers.attempts - 1):
            try:
                return embedder.embed(shard)
            except TransientError:
                continue
        return embedder.embed(shard)
