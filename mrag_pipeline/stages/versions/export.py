"""A version written to a folder, as staged shards, so that an import is a load from staging.

What is exported is what the index holds; the record is written last and makes the export whole.
Memory: a kilobyte for each 4,000 chunks, of the manifest. Disk: 8 bytes a chunk.
Shape legend: N chunks, D dimension.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.domain.proofs import UNPROVEN, proofs_of
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.errors import PlanRefused, StagingError, VerifyFailed
from mrag_pipeline.ports import (
    DocumentRow,
    Export,
    OpenPool,
    Progress,
    ReadableVersion,
    Rows,
    ShardOutput,
    Staging,
)
from mrag_pipeline.stages.serial_pool import in_this_process
from mrag_pipeline.stages.sorted_ids import IdBlock, SortedIds
from mrag_pipeline.stages.versions.stored_rows import chunk_of, row_bytes

CHUNKS_PER_SHARD = 4_000


@dataclass(frozen=True, slots=True, eq=False)
class ExportItem:
    """Write a shard of the export."""

    index: int  # the shard
    block: IdBlock
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Exported:
    """A shard that is written."""

    num_rows: int  # chunks


@dataclass(frozen=True, slots=True)
class Exporter:
    """Does the items of an export: its receipt shows that a shard is written."""

    record: VersionRecord
    index: ReadableVersion
    staging: Staging
    fingerprint: str  # of the export's manifest

    def __call__(self, item: ExportItem) -> Exported:
        """Writes the shard, if it is not there.

        Raises: VerifyFailed if a head lacks a chunk, or a row is not what was written; StorageFull.
        """
        if self.staging.receipt(item.index, self.fingerprint) is None:
            output = _output(self.record, self.index, item.index, item.block.ids())
            self.staging.write_shard(output, self.fingerprint)
        return Exported(len(item.block))


def export_version(
    record: VersionRecord,
    index: ReadableVersion,
    export: Export,
    progress: Progress,
    open_pool: OpenPool = in_this_process,
) -> int:
    """Writes every row of the version, then its record; returns the number of chunks.

    Shards that are already written stay: run again, it continues.

    Args:
        open_pool: where shards are read and written; what is written is the same.
    Raises: PlanRefused if a sync of the version is unfinished; VerifyFailed if a head lacks a
        chunk, or a row is not what was written; FingerprintMismatch if the folder holds another
        export; StagingError if workers write elsewhere; StorageFull.
    """
    if record.pending:
        raise PlanRefused(
            f"a sync of {record.version} was cut short", "a whole version", "run `mrag sync`"
        )
    with closing(SortedIds(index.ids(record.chunks_collection()))) as ids:
        manifest = _manifest(record, ids.blocks(CHUNKS_PER_SHARD))
        export.staging.write_manifest(manifest)
        progress.phase("export", len(ids), "chunks")
        each = row_bytes(record)
        items = (
            ExportItem(shard, own, each * len(own))
            for shard, own in enumerate(ids.blocks(CHUNKS_PER_SHARD))
        )
        work = Exporter(record, index, export.staging, manifest.fingerprint)
        with closing(open_pool(work, each * len(ids))) as pool:
            exported: Exported
            for exported in pool.run(items):
                progress.advance(exported.num_rows)
    _check_written(export.staging, manifest)
    # The record last: without it the export is not whole.
    export.write_record(record)
    progress.finish()
    return len(ids)


def _check_written(staging: Staging, manifest: Manifest) -> None:
    """A worker on another machine may have the folder's path on its own disk.

    Raises: StagingError.
    """
    shards = (shard.index for shard in manifest.shards)
    missing = [
        number
        for number, receipt in enumerate(staging.receipts(shards, manifest.fingerprint))
        if receipt is None
    ]
    if missing:
        raise StagingError(
            f"{len(missing)} of {len(manifest.shards)} shards that workers have written are not in "
            f"{staging.describe()}",
            "a folder that every node of the cluster reaches",
            "export to an object store or a shared file system; or set workers.pool = 'serial'",
        )


def _manifest(record: VersionRecord, blocks: Iterable[IdBlock]) -> Manifest:
    shards = tuple(Shard(shard, (_slice(own.ids()),)) for shard, own in enumerate(blocks))
    return Manifest(
        index=record.index,
        version=record.version,
        fingerprint=export_fingerprint(record, shards),
        listing=record.fingerprint,
        corpus={"uri": record.corpus},
        chunking=record.chunking,
        encoder=record.encoder,
        vector_dtype="float32",
        shards=shards,
        config=record.config,
        lexical=record.lexical,
    )


def export_fingerprint(record: VersionRecord, shards: Sequence[Shard]) -> str:
    """What an export's manifest has for its fingerprint: of the version, its syncs and its ids."""
    content = hashlib.blake2b(record.fingerprint.encode(), digest_size=16)
    content.update(str(record.syncs).encode())
    for shard in shards:
        content.update(shard.slices[0].stamp.encode())
    return content.hexdigest()


def _slice(ids: NDArray[np.int64]) -> Slice:
    digest = hashlib.blake2b(ids.tobytes(), digest_size=16).hexdigest()
    return Slice("export", "records", int(ids[0]), int(ids[-1]), len(ids), digest)


def _output(
    record: VersionRecord, index: ReadableVersion, shard: int, ids: NDArray[np.int64]
) -> ShardOutput:
    collection, chunk_ids = record.chunks_collection(), ids.tolist()
    rows = index.chunks(collection, chunk_ids)
    vectors = np.stack(
        [_vectors(index, head, chunk_ids) for head in record.head_collections()], axis=1
    )
    chunks = [chunk_of(rows[chunk_id]) for chunk_id in chunk_ids]
    standard = _vectors(index, collection, chunk_ids)
    _check_proofs(index, collection, chunks, standard, vectors)
    return ShardOutput(
        shard=shard,
        chunks=chunks,
        vectors=vectors,
        standard=standard,
        sums=ImportanceSums.of(vectors),
        documents=_documents(chunks),
        dead_letters=(),
        num_tokens=0,
        num_bytes=sum(len(chunk.text) for chunk in chunks),
    )


def _vectors(index: Rows, collection: str, ids: list[int]) -> NDArray[np.float32]:
    """(N, D), in the order of the ids.

    Raises: VerifyFailed if the collection lacks one.
    """
    vectors = index.vectors(collection, ids)
    if len(vectors) != len(ids):
        raise VerifyFailed(
            f"{collection} lacks {len(ids) - len(vectors)} of {len(ids)} chunks",
            "every chunk in every head",
            "run `mrag audit`, then `mrag repair`",
        )
    return np.array([vectors[chunk_id] for chunk_id in ids], np.float32)


def _check_proofs(
    index: Rows,
    collection: str,
    chunks: Sequence[Chunk],
    standard: NDArray[np.float32],
    vectors: NDArray[np.float32],
) -> None:
    """Refuses rows that are not what was written: an export would prove them anew.

    Raises: VerifyFailed.
    """
    stored = index.proofs(collection, [chunk.id for chunk in chunks])
    computed = proofs_of(chunks, standard, vectors)
    altered = [
        chunk.id
        for chunk, proof in zip(chunks, computed, strict=True)
        if stored.get(chunk.id, UNPROVEN) not in (UNPROVEN, proof)
    ]
    if altered:
        raise VerifyFailed(
            f"{len(altered)} chunks are not what was written, such as {altered[0]}",
            "rows that their proofs prove",
            "run `mrag audit`, then `mrag repair`",
        )


def _documents(chunks: Sequence[Chunk]) -> list[DocumentRow]:
    by_document: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_document.setdefault(chunk.document_id, []).append(chunk)
    return [
        DocumentRow(document_id, own[0].fingerprint, "export", len(own))
        for document_id, own in by_document.items()
    ]
