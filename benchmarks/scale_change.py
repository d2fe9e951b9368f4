"""A changed row of a table, brought into the live version by the sync's own stages."""

from __future__ import annotations

from functools import partial

import sqlalchemy
from synthetic import Shape, synthetic_embedder

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.flows.progress import LogProgress
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.runtime.pools import serial_pool
from mrag_pipeline.stages.ingest.embed import embed
from mrag_pipeline.stages.ingest.shard_embedder import ShardEmbedder
from mrag_pipeline.stages.sync.apply import apply
from mrag_pipeline.stages.sync.compare import SyncScope, compare
from mrag_pipeline.stages.versions.lookup import live_record

SILENT = LogProgress(lambda _: None)


def run_statement(url: str, statement: str) -> None:
    """Changes the database."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def sync_change(config: Config, shape: Shape, index: VectorIndex) -> int:
    """Compares by the table's column of updates, and applies; returns the chunks embedded."""
    record = live_record(index)
    number = record.syncs + 1
    delta = wiring.delta(config, record.version, number)
    reader = wiring.reader(config, record.reading())
    scope = SyncScope()
    comparison = compare(record, reader, index, delta, config.sync, config.ingest, scope, SILENT)
    manifest = comparison.manifest
    if manifest is None:
        return 0
    opener = partial(_delta_embedder, shape, number)
    pool = partial(serial_pool, config, manifest, opener)
    chunks = embed(manifest, delta, pool, config.ingest, SILENT, may_be_empty=True).chunks
    dead = comparison.difference.num_dead_letters
    apply(record, manifest, delta, index, dead, config.ingest, SILENT)
    return chunks


def _delta_embedder(
    shape: Shape, number: int, config: Config, version: str, fingerprint: str
) -> ShardEmbedder:
    kept = wiring.delta(config, version, number)
    return synthetic_embedder(shape, config, kept.reader(), kept, fingerprint)
