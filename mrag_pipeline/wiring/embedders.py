"""What embeds shards on a worker, put together in the worker's own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.errors import FingerprintMismatch
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder

if TYPE_CHECKING:
    from mrag_pipeline.encoder.segmenter import TokenizingEncoder


def shard_embedder(config: Config, version: str, fingerprint: str) -> ShardEmbedder:
    """The shard embedder of a worker, with everything it needs, built in the worker's process."""
    kept = wiring.staging(config, version)
    manifest = kept.manifest()
    loaded = _encoder(config, manifest)
    return ShardEmbedder(
        reader=wiring.reader(config, None if manifest is None else manifest.reading()),
        encoder=loaded,
        segmenter=wiring.segmenter(config, loaded),
        staging=kept,
        chunking=config.chunking,
        fingerprint=fingerprint,
    )


def delta_embedder(number: int, config: Config, version: str, fingerprint: str) -> ShardEmbedder:
    """The shard embedder of a sync's worker; bind the sync's number with functools.partial.

    Raises: FingerprintMismatch if another model built the version.
    """
    kept = wiring.delta(config, version, number)
    manifest = kept.manifest()
    loaded = _encoder(config, manifest)
    if manifest is None or manifest.encoder.identity() != loaded.card.identity():
        raise FingerprintMismatch(
            f"the model at {config.encoder.model} is not the one that built {version}",
            "the same weights",
            "restore them, or run `mrag ingest`: it builds a new version beside the live one",
        )
    return ShardEmbedder(
        reader=kept.reader(),
        encoder=loaded,
        segmenter=wiring.segmenter(config, loaded),
        staging=kept,
        chunking=manifest.chunking,
        fingerprint=fingerprint,
    )


def _encoder(config: Config, manifest: Manifest | None) -> TokenizingEncoder:
    """The encoder for all shards of the plan, so that each is embedded in the same way.

    Raises: ConfigError if this machine does not have the device that the config names.
    """
    workers = config.workers
    if manifest is None:
        return wiring.encoder(config, workers.threads, workers.device)
    num_bytes = sum(shard.num_bytes for shard in manifest.shards)
    return wiring.encoder_for(config, num_bytes, workers.threads, workers.device)
