"""A version out of an index and into another, with no model: the way between clusters.

What is exported is what the index holds, in the form of staged shards, so that an import is a
load from staging; the record is written last and makes the export whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import PlanRefused, StagingError, VerifyFailed
from mrag_pipeline.ports import (
    ChunkLookup,
    ChunkRow,
    DocumentRow,
    Export,
    Progress,
    Rows,
    ShardOutput,
    VersionBuilds,
)
from mrag_pipeline.stages.ingest.load import collections_of, load

CHUNKS_PER_SHARD = 4_000


class ReadableVersion(Rows, ChunkLookup, Protocol):
    """A version's vectors and texts."""


def export(record: VersionRecord, index: ReadableVersion, place: Export, progress: Progress) -> int:
    """Every row of the version and its record, written to the place; returns the chunks.

    Shards that are there already stay: run again, it goes on.
    Raises: PlanRefused if a sync of the version is unfinished; VerifyFailed if a head lacks a
        chunk; FingerprintMismatch if the place holds something else; StorageFull.
    """
    if record.pending:
        raise PlanRefused(
            f"a sync of {record.version} was cut short", "a whole version", "run `mrag sync`"
        )
    name = record.chunks_collection()
    ids = np.unique(np.concatenate([np.zeros(0, np.int64), *index.ids(name)]))
    parts = [ids[at : at + CHUNKS_PER_SHARD] for at in range(0, len(ids), CHUNKS_PER_SHARD)]
    manifest = _manifest(record, parts)
    place.staging.write_manifest(manifest)
    progress.phase("export", len(ids), "chunks")
    for shard, part in enumerate(parts):
        if place.staging.receipt(shard, manifest.fingerprint) is None:
            output = _output(record, index, shard, part)
            place.staging.write_shard(output, manifest.fingerprint)
        progress.advance(len(part))
    # The record last: without it the export is not whole.
    place.write_record(record)
    progress.finish()
    return len(ids)


def import_version(
    place: Export, name: str, index: VersionBuilds, progress: Progress
) -> VersionRecord:
    """The exported version is in the index, whole and not live.

    Args:
        name: of the index here; the exported one's may be another.
    Raises: StagingError if the export is not whole; PlanRefused if a version of that name is
        live here and is not the same.
    """
    record, manifest = exported(place, name)
    collections = collections_of(name, record.version, record.encoder)
    known = index.record(record.version)
    if (
        known is not None
        and _same(known, record)
        and all(index.is_complete(one, record.num_chunks) for one in collections)
    ):
        return known
    if index.live() == record.version:
        raise PlanRefused(
            f"version {record.version} is live here, and is not the same",
            "a version that nobody reads",
            "`mrag activate` another version first, or import into another index",
        )
    # Without its record, whatever is left of another one is loaded over.
    index.drop_record(record.version)
    load(manifest, place.staging, index, record.num_chunks, progress)
    # The record last: what has one is whole.
    index.write_record(record)
    return record


def exported(place: Export, name: str) -> tuple[VersionRecord, Manifest]:
    """The record and the plan of an export, for an index of that name.

    Raises: StagingError if the export is not whole.
    """
    record, manifest = place.record(), place.staging.manifest()
    if record is None or manifest is None:
        raise StagingError(
            f"no whole export in {place.staging.describe()}",
            "a folder that `mrag export` has finished",
            "run `mrag export` again",
        )
    record = replace(record, index=name, published_at="", replaced_at="")
    return record, replace(manifest, index=name)


def _same(known: VersionRecord, wanted: VersionRecord) -> bool:
    published = replace(known, published_at="", replaced_at="")
    return published.to_json() == wanted.to_json()


def _manifest(record: VersionRecord, parts: Sequence[NDArray[np.int64]]) -> Manifest:
    shards = tuple(
        Shard(
            at,
            (Slice("export", "records", int(part[0]), int(part[-1]), len(part), _digest(part)),),
        )
        for at, part in enumerate(parts)
    )
    content = hashlib.blake2b(record.fingerprint.encode(), digest_size=16)
    content.update(str(record.syncs).encode())
    for shard in shards:
        content.update(shard.slices[0].stamp.encode())
    return Manifest(
        index=record.index,
        version=record.version,
        fingerprint=content.hexdigest(),
        listing=record.fingerprint,
        corpus={"uri": record.corpus},
        chunking=record.chunking,
        encoder=record.encoder,
        vector_dtype="float32",
        shards=shards,
        config=record.config,
    )


def _digest(ids: NDArray[np.int64]) -> str:
    return hashlib.blake2b(ids.tobytes(), digest_size=16).hexdigest()


def _output(
    record: VersionRecord, index: ReadableVersion, shard: int, ids: NDArray[np.int64]
) -> ShardOutput:
    name, wanted = record.chunks_collection(), ids.tolist()
    rows = index.chunks(name, wanted)
    heads = [_matrix(index, one, wanted) for one in record.head_collections()]
    vectors = np.stack(heads, axis=1)
    chunks = [_chunk(rows[i]) for i in wanted]
    return ShardOutput(
        shard=shard,
        chunks=chunks,
        vectors=vectors,
        standard=_matrix(index, name, wanted),
        sums=ImportanceSums.of(vectors),
        documents=_documents(chunks),
        dead_letters=(),
        num_tokens=0,
        num_bytes=sum(len(chunk.text) for chunk in chunks),
    )


def _matrix(index: Rows, collection: str, ids: list[int]) -> NDArray[np.float32]:
    found = index.vectors(collection, ids)
    if len(found) != len(ids):
        raise VerifyFailed(
            f"{collection} lacks {len(ids) - len(found)} of {len(ids)} chunks",
            "every chunk in every head",
            "run `mrag audit`, then `mrag repair`",
        )
    return np.array([found[i] for i in ids], np.float32)


def _chunk(row: ChunkRow) -> Chunk:
    return Chunk(
        row.id,
        row.document_id,
        row.ordinal,
        row.start,
        row.end,
        row.text,
        row.title,
        row.metadata,
        row.fingerprint,
    )


def _documents(chunks: Sequence[Chunk]) -> list[DocumentRow]:
    found: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        found.setdefault(chunk.document_id, []).append(chunk)
    return [
        DocumentRow(name, own[0].fingerprint, "export", len(own)) for name, own in found.items()
    ]
