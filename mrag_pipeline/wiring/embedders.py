"""What embeds shards on a worker, put together in the worker's own process."""

from __future__ import annotations

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.errors import FingerprintMismatch
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder


def shard_embedder(config: Config, version: str, fingerprint: str) -> ShardEmbedder:
    """The shard embedder of a worker, with everything it needs, built in the worker's process."""
    loaded = wiring.encoder(config, threads=config.workers.threads)
    kept = wiring.staging(config, version)
    manifest = kept.manifest()
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
    loaded = wiring.encoder(config, threads=config.workers.threads)
    kept = wiring.delta(config, version, number)
    manifest = kept.manifest()
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
