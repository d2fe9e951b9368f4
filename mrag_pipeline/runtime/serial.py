"""Shards embedded one after the other in this process: for tests, debugging and pdb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard


class SerialPool:
    """The worker pool without workers."""

    def __init__(self, config: Config, manifest: Manifest) -> None:
        self._config = config
        self._manifest = manifest

    def describe(self) -> str:
        """One line for people."""
        return "this process"

    def run(self, shards: Iterable[Shard]) -> Iterator[Receipt]:
        """A receipt for each shard, in order."""
        embedder = wiring.shard_embedder(
            self._config, self._manifest.version, self._manifest.fingerprint
        )
        for shard in shards:
            yield embedder.embed(shard)

    def close(self) -> None:
        """Nothing to end."""
