"""One version's shards as Parquet files in a folder of any filesystem.

    {uri}/{index}/{version}/manifest.json
                            duplicates.parquet
                            shards/00017/chunks-3f09ab41c2d7.parquet
                                         heads/l05_h07-81d0c6e27f4a.parquet
                                         proofs-....parquet     or a column of the chunks
                                         importance-....parquet
                                         documents-....parquet
                                         dead_letters-....parquet
                                         receipt.json           written last; names the files

mrag 0.1 wrote no proofs. They are a column of large chunks files that a server imports as they
are (decision 142).
Shape legend: N chunks, n rows left out, H heads, D head dimension.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from math import inf

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrag_pipeline.domain.dead_letters import num_set_aside
from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.precision import rounded
from mrag_pipeline.domain.proofs import PROOF
from mrag_pipeline.errors import FingerprintMismatch, StagingError
from mrag_pipeline.ports import DocumentRow, ShardOutput, StagedTable, Staging
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import tables
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.left_out import CHUNKS, LeftOutRows
from mrag_pipeline.staging.staged_files import WRITE_ANEW, StagedFiles, receipt_path, shard_folder

_MANIFEST = "manifest.json"
_PROOFS = "proofs.parquet"
_PARALLEL_READS = 16  # requests to an object store at one time
_ONLY_WE_READ = "lz4"  # the compression that Arrow for Go, with which Milvus reads, does not know


def open_staging(spec: StagingSpec, index: str, version: str, import_bytes: float = inf) -> Staging:
    """The version's staging area; nothing is created before something is written.

    Args:
        import_bytes: chunks of a shard that take so much and more are written as a server imports
            them; whatever was written is read.
    Raises: ConfigError if the URI is not one.
    """
    return ShardFolders(spec, index, version, import_bytes=import_bytes)


class ShardFolders:
    """The Staging port over a folder. Safe to open in many processes at once."""

    # What to do if the plan is damaged.
    _WITHOUT_PLAN = (
        "restore it from a backup; or delete it and run `mrag ingest` with the corpus as it was: "
        "it plans again, and embeds nothing that is staged"
    )
    _WRITE_ANEW = WRITE_ANEW  # how a damaged shard is written again, once it was deleted
    # What to do with the folder of another plan.
    _ANOTHER_PLAN = "delete {folder} and run `mrag ingest`: it plans and embeds anew"

    def __init__(self, spec: StagingSpec, *below: str, import_bytes: float = inf) -> None:
        """Opens `{spec.uri}/{below}`; `below` is usually the index and the version.

        Args:
            import_bytes: as in `open_staging`.
        """
        self._folder = Folder(spec.uri, *below)
        self._files = StagedFiles(self._folder, spec.compression, self._WRITE_ANEW)
        self._is_read_by_others = spec.compression != _ONLY_WE_READ
        self._import_bytes = import_bytes
        self._manifest: Manifest | None = None
        self._left_out = LeftOutRows(self._files)

    def describe(self) -> str:
        """The folder's URI, without secrets."""
        return self._folder.name

    # -------------------------------------------------------------- the plan
    def manifest(self) -> Manifest | None:
        """The plan, None if there is none yet.

        Raises: StagingError if it is damaged.
        """
        if self._manifest is None:
            content = self._folder.read(_MANIFEST)
            if content is None:
                return None
            try:
                self._manifest = Manifest.from_json(content.to_pybytes().decode())
            except (ValueError, KeyError, TypeError) as error:
                raise StagingError(
                    f"{self._folder.describe(_MANIFEST)} is missing or damaged: {error}",
                    "the plan as it was written",
                    self._WITHOUT_PLAN,
                ) from error
        return self._manifest

    def write_manifest(self, manifest: Manifest) -> None:
        """Stores the plan, atomically; the same plan again changes nothing.

        Raises: FingerprintMismatch if another plan is stored here; StorageFull.
        """
        stored = self.manifest()
        if stored is None:
            self._folder.write(_MANIFEST, manifest.to_json().encode())
            self._manifest = manifest
            return
        self._check(stored.fingerprint, manifest.fingerprint, _MANIFEST)

    # -------------------------------------------------------------- shards
    def receipt(self, shard: int, fingerprint: str) -> Receipt | None:
        """The shard's receipt; None if it is not done, or a file is missing or cut short.

        Raises: FingerprintMismatch if the receipt belongs to another plan.
        """
        receipt = self._files.read_receipt(shard)
        if receipt is None:
            return None
        self._check(receipt.fingerprint, fingerprint, receipt_path(shard))
        return receipt if self._files.are_whole(receipt) else None

    def receipts(self, shards: Iterable[int], fingerprint: str) -> Iterator[Receipt | None]:
        """The receipt of each shard, in order; an object store is asked for several at a time."""
        if self._folder.is_local:
            yield from (self.receipt(shard, fingerprint) for shard in shards)
            return
        remaining = iter(shards)
        with ThreadPoolExecutor(_PARALLEL_READS) as threads:
            while batch := list(islice(remaining, 8 * _PARALLEL_READS)):
                yield from threads.map(lambda shard: self.receipt(shard, fingerprint), batch)

    def write_shard(self, output: ShardOutput, fingerprint: str) -> Receipt:
        """Stores a shard whole or not at all; the receipt last. Same output, same bytes.

        A finished shard is left as it is: if two processes work on one, the first to finish wins.
        Raises: StorageFull; StagingError if there is no manifest, or a text cannot be stored;
            BadVectors; FingerprintMismatch.
        """
        manifest = self._need_manifest()
        self._check(manifest.fingerprint, fingerprint, _MANIFEST)
        done = self.receipt(output.shard, fingerprint)
        if done is not None:
            return done
        self._folder.sweep(shard_folder(output.shard))
        files = self._files.write_shard_tables(output.shard, self._tables(output, manifest))
        receipt = Receipt(
            shard=output.shard,
            fingerprint=fingerprint,
            num_documents=len(output.documents),
            num_chunks=len(output.chunks),
            num_tokens=output.num_tokens,
            num_dead_letters=num_set_aside(output.dead_letters),
            num_bytes=output.num_bytes,
            files=files,
            remarks=output.remarks,
        )
        # If another process was faster, its receipt stays.
        done = self.receipt(output.shard, fingerprint)
        if done is not None:
            return done
        # Receipt last: its presence is what makes the shard done.
        self._files.write_receipt(receipt)
        return receipt

    def chunks(self, shard: int) -> pa.Table:
        """The shard's chunks with their standard embedding, duplicates left out."""
        table = self._files.read_shard_table(shard, CHUNKS)
        if PROOF not in table.column_names:
            has_proofs = self._files.has_shard_table(shard, _PROOFS)
            proofs = self._files.read_shard_table(shard, _PROOFS) if has_proofs else None
            table = tables.proven(table, proofs)
        return self._without_duplicates(shard, table)

    def head(self, shard: int, head: Head) -> pa.Table:
        """One head's vectors: chunk_id, vector; rows as in `chunks`."""
        table = tables.single_precision(self._files.read_shard_table(shard, _head(head)))
        return self._without_duplicates(shard, table)

    def head_file(self, shard: int, head: Head) -> StagedTable | None:
        """The file of `head`, unless it holds float16, or rows that are left out."""
        is_float32 = self._need_manifest().vector_dtype != "float16"  # bfloat16 is stored so too
        if not (is_float32 and self._is_importable(shard)):
            return None
        return self._staged_table(shard, _head(head), partial(self.head, shard, head))

    def chunks_file(self, shard: int) -> StagedTable | None:
        """The file of the chunks, if it has their proofs and no rows that are left out."""
        if not self._is_importable(shard) or self._files.has_shard_table(shard, _PROOFS):
            return None
        if PROOF not in self._files.column_names(shard, CHUNKS):  # mrag 0.1 wrote it
            return None
        return self._staged_table(shard, CHUNKS, partial(self.chunks, shard))

    def chunk_ids(self, shard: int) -> NDArray[np.int64]:
        """The shard's chunk ids (N,), rows as in `chunks`."""
        mask, ids = self._left_out.kept(shard), self.all_chunk_ids(shard)
        return ids if mask is None else ids[mask]

    def all_chunk_ids(self, shard: int) -> NDArray[np.int64]:
        """The ids of all chunks staged for the shard (N,), duplicates included."""
        # Every head's file has the ids, and is much smaller than the file with the texts.
        head = self._need_manifest().encoder.heads[0]
        table = self._files.read_shard_table(shard, _head(head), ["chunk_id"])
        ids: NDArray[np.int64] = table["chunk_id"].to_numpy()
        return ids

    def sums(self, shard: int) -> ImportanceSums:
        """The shard's importance sums over all its rows, duplicates included."""
        return tables.sums_of(self._files.read_shard_table(shard, "importance.parquet"))

    def documents(self, shard: int) -> list[DocumentRow]:
        """The documents that the shard took, in order; duplicates of other shards included."""
        return tables.documents_of(self._files.read_shard_table(shard, "documents.parquet"))

    def dead_letters(self, shard: int) -> list[DeadLetter]:
        """The documents that could not be embedded."""
        return tables.dead_letters_of(self._files.read_shard_table(shard, "dead_letters.parquet"))

    # -------------------------------------------------------------- duplicates
    def write_duplicates(self, duplicates: Mapping[int, Sequence[DeadLetter]]) -> None:
        """Stores, by shard, the documents left out: an earlier one has their id, or a chunk's."""
        self._left_out.write(duplicates)

    def duplicates(self) -> Mapping[int, Sequence[DeadLetter]] | None:
        """What `write_duplicates` stored, None if nothing is stored yet."""
        return self._left_out.documents()

    def duplicate_vectors(self, shard: int) -> NDArray[np.float32]:
        """The head vectors of the rows that are left out of the shard: (n, H, D)."""
        card = self._need_manifest().encoder
        mask = self._left_out.kept(shard)
        if mask is None:
            return np.zeros((0, len(card.heads), card.head_dim), dtype=np.float32)
        left_out = pa.array(~mask)
        vectors = [
            vector_matrix(
                tables.single_precision(self._files.read_shard_table(shard, _head(head))).filter(
                    left_out
                )["vector"]
            )
            for head in card.heads
        ]
        return (
            np.stack(vectors, axis=1).astype(np.float32).reshape(-1, len(card.heads), card.head_dim)
        )

    def duplicate_chunk_ids(self, shard: int) -> NDArray[np.int64]:
        """The ids of the rows that are left out of the shard: (n,)."""
        mask = self._left_out.kept(shard)
        return np.zeros(0, np.int64) if mask is None else self.all_chunk_ids(shard)[~mask]

    def remove(self) -> None:
        """Removes everything; the plan first, so that a removal cut short leaves no version."""
        self._folder.remove(_MANIFEST)
        self._folder.remove("")
        self._manifest = None
        self._left_out.forget()
        self._files.forget_receipts()

    def free_bytes(self) -> int | None:
        """Free space; None for an object store, which has no limit to report."""
        return self._folder.free_bytes()

    # -------------------------------------------------------------- inside
    def _tables(self, output: ShardOutput, manifest: Manifest) -> Iterator[tuple[str, pa.Table]]:
        card = manifest.encoder
        num_chunks = len(output.chunks)
        assert output.vectors.shape == (num_chunks, len(card.heads), card.head_dim)
        assert output.standard.shape == (num_chunks, card.standard_dim)
        ids = np.array([chunk.id for chunk in output.chunks], dtype=np.int64)
        dtype = manifest.vector_dtype
        chunks = tables.chunk_table(output.chunks, output.standard, dtype)
        proofs = tables.proof_table(output.chunks, output.standard, output.vectors, dtype)
        is_for_server = self._is_read_by_others and chunks.nbytes >= self._import_bytes
        if is_for_server:
            chunks = tables.importable(chunks, proofs, dtype)
        yield CHUNKS, chunks
        del chunks  # all texts of the shard
        for i, head in enumerate(card.heads):
            yield _head(head), tables.head_table(ids, output.vectors[:, i], dtype)
        if not is_for_server:
            # mrag 0.1 passes over a file that it does not know, but not over a column.
            yield _PROOFS, proofs
        sums = output.sums
        if dtype != "float32":
            # Sums of the stored numbers, so that stored vectors can be subtracted later.
            sums = ImportanceSums.of(rounded(output.vectors, dtype))
        yield "importance.parquet", tables.importance_table(sums, card.heads)
        yield "documents.parquet", tables.document_table(output.documents)
        yield "dead_letters.parquet", tables.dead_letter_table(output.dead_letters)

    def _is_importable(self, shard: int) -> bool:
        """Whether a server can read the shard's files, and should read all their rows."""
        return self._is_read_by_others and not self._left_out.of_shard(shard)

    def _staged_table(self, shard: int, name: str, read: Callable[[], pa.Table]) -> StagedTable:
        file = self._files.staged_file(shard, name)
        return StagedTable(
            self._folder.store,
            self._folder.path(f"{shard_folder(shard)}/{file.name}"),
            file.num_bytes,
            self._files.receipt(shard).num_chunks,
            read,
        )

    def _without_duplicates(self, shard: int, table: pa.Table) -> pa.Table:
        mask = self._left_out.kept(shard)
        return table if mask is None else table.filter(pa.array(mask))

    def _need_manifest(self) -> Manifest:
        manifest = self.manifest()
        if manifest is None:
            raise StagingError(
                f"{socket.gethostname()} finds no plan in {self.describe()}",
                "manifest.json",
                "run `mrag ingest` from the start; on a cluster, every node must be able to reach "
                "staging.uri",
            )
        return manifest

    def _check(self, stored: str, wanted: str, path: str) -> None:
        if stored != wanted:
            raise FingerprintMismatch(
                f"{self._folder.describe(path)} belongs to plan {stored}",
                f"plan {wanted}",
                self._ANOTHER_PLAN.format(folder=self._folder.name),
            )


def _head(head: Head) -> str:
    return f"heads/{head}.parquet"
