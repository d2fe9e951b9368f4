"""What does the items of phases that embed nothing, put together in a worker's own process."""

from __future__ import annotations

from collections.abc import Collection

from mrag_pipeline import wiring
from mrag_pipeline.config import Config
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import StagingError
from mrag_pipeline.ports import Staging
from mrag_pipeline.stages.ingest.load_items import Loader
from mrag_pipeline.stages.ingest.reconcile_items import Reconciler
from mrag_pipeline.stages.ingest.verify_items import Verifier
from mrag_pipeline.stages.sync.apply_items import Applier
from mrag_pipeline.stages.sync.compare_items import CorpusComparer
from mrag_pipeline.stages.versions.export import Exporter
from mrag_pipeline.stages.versions.import_version import importable
from mrag_pipeline.stages.versions.row_items import RowChecker


def verifier(version: str, config: Config) -> Verifier:
    """Looks at a version's collections and shards; bind the version with functools.partial."""
    staging = wiring.staging(config, version)
    return Verifier(
        _manifest(staging),
        staging,
        wiring.index(config),
        config.ingest,
        threads=config.workers.threads,
    )


def loader(version: str, config: Config) -> Loader:
    """Builds a version's collections; bind the version with functools.partial."""
    staging = wiring.staging(config, version)
    return Loader(_manifest(staging), staging, wiring.index(config))


def reconciler(version: str, config: Config) -> Reconciler:
    """Reads a version's shards; bind the version with functools.partial."""
    staging = wiring.staging(config, version)
    return Reconciler(_manifest(staging), staging, threads=config.workers.threads)


def row_checker(record: VersionRecord, config: Config) -> RowChecker:
    """Reads a version's rows; bind the record with functools.partial."""
    return RowChecker(record, wiring.index(config), wiring.staged_version(config, record))


def exporter(record: VersionRecord, folder: str, config: Config) -> Exporter:
    """Writes shards of an export; bind all but the config with functools.partial."""
    staging = wiring.export(folder).staging
    return Exporter(record, wiring.index(config), staging, _manifest(staging).fingerprint)


def import_loader(folder: str, config: Config) -> Loader:
    """Builds the collections of an exported version; bind the folder with functools.partial."""
    staging, index = wiring.export(folder).staging, wiring.index(config)
    manifest = importable(_manifest(staging), config.index, index)
    return Loader(manifest, staging, index)


def import_verifier(folder: str, config: Config) -> Verifier:
    """Looks at an imported version; bind the folder with functools.partial."""
    staging, index = wiring.export(folder).staging, wiring.index(config)
    manifest = importable(_manifest(staging), config.index, index)
    threads = config.workers.threads
    return Verifier(manifest, staging, index, config.ingest, threads=threads)


def corpus_comparer(
    record: VersionRecord, only: Collection[str] | None, config: Config
) -> CorpusComparer:
    """Reads the corpus, and a version's rows; bind all but the config with functools.partial."""
    return CorpusComparer(
        record.chunks_collection(),
        wiring.reader(config, record.reading()),
        wiring.delta(config, record.version, record.syncs + 1),
        wiring.index(config) if wiring.index_is_shared(config) else None,
        only,
    )


def applier(record: VersionRecord, fingerprint: str, config: Config) -> Applier:
    """Reads and writes what a version's next sync changes; bind all but the config.

    Args:
        fingerprint: of the sync's plan.
    Raises: StagingError if the worker finds no plan, or another one.
    """
    staging = wiring.delta(config, record.version, record.syncs + 1)
    if _manifest(staging).fingerprint != fingerprint:
        raise StagingError(
            f"a worker finds another plan in {staging.describe()}",
            "the plan of this sync",
            "every node of a cluster must be able to reach that folder; one at the same path is "
            "not enough",
        )
    # `milvus.load_threads` workers have an item at the same time: that many collections in all.
    return Applier(record, staging, wiring.index(config), at_once=1)


def _manifest(staging: Staging) -> Manifest:
    manifest = staging.manifest()
    if manifest is None:
        raise StagingError(
            f"a worker finds no plan in {staging.describe()}",
            "manifest.json",
            "every node of a cluster must be able to reach that folder",
        )
    return manifest
