"""An exported version loaded into an index, with no model: how a version moves between clusters."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from math import inf

from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.version import VersionRecord, version_in
from mrag_pipeline.errors import PlanRefused, StagingError
from mrag_pipeline.ports import Export, HasCapabilities, OpenPool, Progress, VersionBuilds
from mrag_pipeline.stages.ingest.load import load
from mrag_pipeline.stages.version_collections import collections_of
from mrag_pipeline.stages.versions.export import export_fingerprint
from mrag_pipeline.stages.versions.retire import drop

# What to do about a row that is not as in the export: the version's staging is elsewhere.
MEND = (
    "run `mrag retire {version}`, then the same command again; or, if it is live, import into "
    "another index (--index)"
)


def import_version(
    export: Export,
    name: str,
    index: VersionBuilds,
    progress: Progress,
    open_pool: OpenPool | None = None,
    range_bytes: float = inf,
) -> VersionRecord:
    """The exported version is in the index, whole and not live.

    Collections that a killed import of the same export has loaded are kept; others of the version
    are dropped first, unless its record here is the exported one.

    Args:
        name: of the index here; the exported version's index may have another name.
        open_pool, range_bytes: as those of `load`.
    Raises: StagingError if the export is not whole; PlanRefused if another version of that name
        is live here.
    """
    record, manifest = read_export(export, name)
    manifest = importable(manifest, name, index)
    if manifest.lexical is None:
        record = replace(record, lexical=None)
    collections = collections_of(record)
    known = index.record(record.version)
    is_same = known is not None and _is_same(known, record)
    if (
        known is not None
        and is_same
        and all(index.is_complete(collection, record.num_chunks) for collection in collections)
    ):
        return known
    if index.live() == record.version:
        raise PlanRefused(
            f"version {record.version} is live in this index and differs from the exported one",
            "a version that is not live",
            "`mrag activate` another version first, or import into another index",
        )
    export_name = _name_of(record)
    is_begun = known is None and index.import_begun(record.version) == export_name
    if not (is_same or is_begun):
        _drop_others(index, name, record.version)
    index.drop_record(record.version)
    index.begin_import(record.version, export_name)
    load(manifest, export.staging, index, record.num_chunks, progress, open_pool, range_bytes)
    # The record last: a version that has one is whole.
    index.write_record(record)
    return record


def export_plan(export: Export, name: str, index: HasCapabilities) -> Manifest:
    """What is loaded of an export that `read_export` has found whole.

    Raises: StagingError if there is no plan any more.
    """
    manifest = export.staging.manifest()
    if manifest is None:
        raise _not_whole(export)
    return importable(manifest, name, index)


def importable(manifest: Manifest, name: str, index: HasCapabilities) -> Manifest:
    """The plan of an export, for an index of that name; without words if it cannot search them."""
    lexical = manifest.lexical if index.capabilities().has_full_text else None
    return replace(manifest, index=name, lexical=lexical)


def read_export(export: Export, name: str) -> tuple[VersionRecord, Manifest]:
    """The record and the plan of an export, for an index of that name; reads all its receipts.

    Raises: StagingError if the export is not whole.
    """
    record, manifest = export.record(), export.staging.manifest()
    if record is None or manifest is None:
        raise _not_whole(export)
    _check_whole(record, manifest, export)
    record = replace(record, index=name, published_at="", replaced_at="", repairs=0)
    return record, replace(manifest, index=name)


def _not_whole(export: Export) -> StagingError:
    return StagingError(
        f"no whole export in {export.staging.describe()}",
        "a folder that `mrag export` has finished",
        "run `mrag export` again: it writes what is missing",
    )


def _check_whole(record: VersionRecord, manifest: Manifest, export: Export) -> None:
    """Compares record, plan and receipts, which an export of any version has.

    Receipts are added up as they come: one takes some 10 kB of memory.
    Raises: StagingError if they do not belong together.
    """
    shards = (shard.index for shard in manifest.shards)
    num_chunks = num_missing = 0
    for receipt in export.staging.receipts(shards, manifest.fingerprint):
        if receipt is None:
            num_missing += 1
        else:
            num_chunks += receipt.num_chunks
    if manifest.fingerprint != export_fingerprint(record, manifest.shards):
        found = "its record and its manifest do not belong together"
    elif num_missing:
        found = f"{num_missing} of its {len(manifest.shards)} shards are missing or cut short"
    elif num_chunks != record.num_chunks:
        found = f"its record counts {record.num_chunks:,} chunks, its shards hold {num_chunks:,}"
    else:
        return
    raise StagingError(
        f"the export in {export.staging.describe()} is damaged: {found}",
        "the folder as `mrag export` wrote it",
        "run `mrag export` again into an empty folder; nothing was changed here",
    )


def _drop_others(index: VersionBuilds, name: str, version: str) -> None:
    """Drops what is there of the version: its rows may be of another sync, and as many."""
    is_there = any(version_in(name, own) == version for own in index.collections())
    if is_there or index.record(version) is not None:
        drop(index, name, version, lambda _: None)


def _name_of(record: VersionRecord) -> str:
    """The same for exports whose records are the same."""
    return hashlib.blake2b(record.to_json().encode(), digest_size=16).hexdigest()


def _is_same(known: VersionRecord, exported: VersionRecord) -> bool:
    """Whether the records agree in everything but when they were live."""
    return (
        replace(known, published_at="", replaced_at="", repairs=0).to_json() == exported.to_json()
    )
