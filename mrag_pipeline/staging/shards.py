"""One version's shards as Parquet files in a folder of any filesystem.

    {uri}/{index}/{version}/manifest.json
                            duplicates.parquet
                            shards/00017/chunks-3f09ab41c2d7.parquet
                                         heads/l05_h07-81d0c6e27f4a.parquet
                                         importance-....parquet
                                         documents-....parquet
                                         dead_letters-....parquet
                                         receipt.json           written last; names the files

A file's name ends in the beginning of its content's sha256. Two workers at one shard (one of them
slow, or cut off from the cluster but not from here) write the same files where they compute the
same bits, and files beside each other's where they don't: neither spoils what the other's receipt
speaks for.

Shape legend: N chunks, n rows left out, H heads, D head dimension.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import DeadLetter
from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest, Receipt, StagedFile
from mrag_pipeline.domain.precision import rounded
from mrag_pipeline.errors import FingerprintMismatch, StagingError
from mrag_pipeline.ports import DocumentRow, ShardOutput, Staging
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.settings.staging import StagingSpec
from mrag_pipeline.staging import tables
from mrag_pipeline.staging.atomic_folder import Folder
from mrag_pipeline.staging.recently_read import Recent

_MANIFEST = "manifest.json"
_DUPLICATES = "duplicates.parquet"
_RECEIPT = "receipt.json"
_AT_ONCE = 16  # of an object store's answers that are waited for
_RECEIPTS = 1_024  # held in memory: 10 MB with 32 heads
_TAG_DIGITS = 12
_TAG = re.compile(rf"-[0-9a-f]{{{_TAG_DIGITS}}}\.parquet$")


def open_staging(spec: StagingSpec, index: str, version: str) -> Staging:
    """The version's staging area; nothing is created before something is written.

    Raises: ConfigError if the URI is not one.
    """
    return ShardFolders(spec, index, version)


class ShardFolders:
    """The Staging port over a folder. Safe to open in many processes at once."""

    def __init__(self, spec: StagingSpec, *below: str) -> None:
        """The shards in `{spec.uri}/{below}`: index and version, as a rule."""
        self._folder = Folder(spec.uri, *below)
        self._compression = spec.compression
        self._manifest: Manifest | None = None
        self._duplicates: dict[int, list[DeadLetter]] | None = None
        self._receipts = Recent[Receipt](_RECEIPTS)
        self._kept: dict[int, NDArray[np.uint8]] = {}  # a bit a row, of shards with duplicates

    def describe(self) -> str:
        """Where it is, for people."""
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
                raise self._damaged(_MANIFEST, str(error)) from error
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
        found = self._read_receipt(shard)
        if found is None:
            return None
        self._check(found.fingerprint, fingerprint, f"{_shard(shard)}/{_RECEIPT}")
        sizes = self._folder.sizes(_shard(shard))
        if any(sizes.get(file.name) != file.num_bytes for file in found.files):
            return None
        return found

    def receipts(self, shards: Iterable[int], fingerprint: str) -> Iterator[Receipt | None]:
        """What `receipt` says of each, in order; from an object store some at a time."""
        if self._folder.is_local:
            yield from (self.receipt(shard, fingerprint) for shard in shards)
            return
        left = iter(shards)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            while some := list(islice(left, 8 * _AT_ONCE)):
                yield from threads.map(lambda shard: self.receipt(shard, fingerprint), some)

    def write_shard(self, output: ShardOutput, fingerprint: str) -> Receipt:
        """Stores a shard whole or not at all; the receipt last. Same output, same bytes.

        A shard that is done stays as it is: of two processes at work on one, the first to
        finish wins.
        Raises: StorageFull; StagingError before there is a manifest, or for a text that
        cannot be stored; BadVectors; FingerprintMismatch.
        """
        manifest = self._need_manifest()
        self._check(manifest.fingerprint, fingerprint, _MANIFEST)
        done = self.receipt(output.shard, fingerprint)
        if done is not None:
            return done
        place = _shard(output.shard)
        self._folder.sweep(place)
        files = []
        for name, table in self._tables(output, manifest):
            content = tables.parquet(table, self._compression)
            digest = hashlib.sha256(content).hexdigest()
            own_name = name.replace(".parquet", f"-{digest[:_TAG_DIGITS]}.parquet")
            self._folder.write(f"{place}/{own_name}", content)
            files.append(StagedFile(own_name, content.size, digest))
        receipt = Receipt(
            shard=output.shard,
            fingerprint=fingerprint,
            num_documents=len(output.documents),
            num_chunks=len(output.chunks),
            num_tokens=output.num_tokens,
            num_dead_letters=len(output.dead_letters),
            num_bytes=output.num_bytes,
            files=tuple(files),
        )
        # Another may have been faster: its receipt stays.
        done = self.receipt(output.shard, fingerprint)
        if done is not None:
            return done
        # Receipt last: its presence is what makes the shard done.
        self._folder.write(f"{place}/{_RECEIPT}", receipt.to_json().encode())
        self._receipts.set(output.shard, receipt)
        return receipt

    def chunks(self, shard: int) -> pa.Table:
        """The shard's chunks with their standard embedding, duplicates left out."""
        return self._without_duplicates(shard, self._read(shard, "chunks.parquet"))

    def head(self, shard: int, head: Head) -> pa.Table:
        """One head's vectors: chunk_id, vector; rows as in `chunks`."""
        table = tables.single_precision(self._read(shard, _head(head)))
        return self._without_duplicates(shard, table)

    def chunk_ids(self, shard: int) -> NDArray[np.int64]:
        """The shard's chunk ids (N,), rows as in `chunks`."""
        # Any head's file has them, and is a fraction of the one with the texts.
        head = self._need_manifest().encoder.heads[0]
        table = self._read(shard, _head(head), ["chunk_id"])
        ids: NDArray[np.int64] = self._without_duplicates(shard, table)["chunk_id"].to_numpy()
        return ids

    def sums(self, shard: int) -> ImportanceSums:
        """The shard's importance sums, over all its rows, duplicates counted."""
        return tables.sums_of(self._read(shard, "importance.parquet"))

    def documents(self, shard: int) -> list[DocumentRow]:
        """The documents the shard took, in order, duplicates of other shards counted."""
        return tables.documents_of(self._read(shard, "documents.parquet"))

    def dead_letters(self, shard: int) -> list[DeadLetter]:
        """The documents the shard could not take."""
        return tables.dead_letters_of(self._read(shard, "dead_letters.parquet"))

    # -------------------------------------------------------------- duplicates
    def write_duplicates(self, duplicates: Mapping[int, Sequence[DeadLetter]]) -> None:
        """Stores, by shard, the documents left out because an earlier shard has their id."""
        table = tables.duplicate_table(duplicates)
        self._folder.write(_DUPLICATES, tables.parquet(table, self._compression))
        self._duplicates = tables.duplicates_of(table)
        self._kept.clear()

    def duplicates(self) -> Mapping[int, Sequence[DeadLetter]] | None:
        """What `write_duplicates` stored, None if nothing was yet."""
        if self._duplicates is None:
            content = self._folder.read(_DUPLICATES)
            if content is None:
                return None
            self._duplicates = tables.duplicates_of(self._parse(_DUPLICATES, content))
        return self._duplicates

    def duplicate_vectors(self, shard: int) -> NDArray[np.float32]:
        """The head vectors of the rows that are left out of the shard: (n, H, D)."""
        card = self._need_manifest().encoder
        kept = self._mask(shard)
        if kept is None:
            return np.zeros((0, len(card.heads), card.head_dim), dtype=np.float32)
        left_out = pa.array(~kept)
        vectors = [
            vector_matrix(
                tables.single_precision(self._read(shard, _head(head))).filter(left_out)["vector"]
            )
            for head in card.heads
        ]
        return (
            np.stack(vectors, axis=1).astype(np.float32).reshape(-1, len(card.heads), card.head_dim)
        )

    def remove(self) -> None:
        """Forgets all of it: the plan first, so that what is left is nothing."""
        self._folder.remove(_MANIFEST)
        self._folder.remove("")
        self._manifest = None
        self._receipts.clear()

    def free_bytes(self) -> int | None:
        """Free space, None where there is no such thing (an object store)."""
        return self._folder.free_bytes()

    # -------------------------------------------------------------- inside
    def _tables(self, output: ShardOutput, manifest: Manifest) -> Iterator[tuple[str, pa.Table]]:
        card = manifest.encoder
        num_chunks = len(output.chunks)
        assert output.vectors.shape == (num_chunks, len(card.heads), card.head_dim)
        assert output.standard.shape == (num_chunks, card.standard_dim)
        ids = np.array([chunk.id for chunk in output.chunks], dtype=np.int64)
        yield (
            "chunks.parquet",
            tables.chunk_table(output.chunks, output.standard, manifest.vector_dtype),
        )
        for i, head in enumerate(card.heads):
            table = tables.head_table(ids, output.vectors[:, i], manifest.vector_dtype)
            yield _head(head), table
        sums = output.sums
        if manifest.vector_dtype != "float32":
            # Of what is stored, so that it can be subtracted when it is read back.
            sums = ImportanceSums.of(rounded(output.vectors, manifest.vector_dtype))
        yield "importance.parquet", tables.importance_table(sums, card.heads)
        yield "documents.parquet", tables.document_table(output.documents)
        yield "dead_letters.parquet", tables.dead_letter_table(output.dead_letters)

    def _read_receipt(self, shard: int) -> Receipt | None:
        content = self._folder.read(f"{_shard(shard)}/{_RECEIPT}")
        if content is None:
            return None
        try:
            found = Receipt.from_json(content.to_pybytes().decode())
        except (ValueError, KeyError, TypeError):
            # Cut short on a filesystem without atomic writes: the shard is not done.
            return None
        self._receipts.set(shard, found)
        return found

    def _receipt_of(self, shard: int) -> Receipt:
        receipt = self._receipts.get(shard) or self._read_receipt(shard)
        if receipt is None:
            raise self._damaged(f"{_shard(shard)}/{_RECEIPT}", "the shard is not finished")
        return receipt

    def _read(self, shard: int, name: str, columns: list[str] | None = None) -> pa.Table:
        receipt = self._receipt_of(shard)
        promised = next((file for file in receipt.files if _without_tag(file.name) == name), None)
        if promised is None:
            raise self._damaged(f"{_shard(shard)}/{name}", "the shard's receipt does not know it")
        path = f"{_shard(shard)}/{promised.name}"
        content = self._folder.read(path)
        if content is None:
            raise self._damaged(path, "it is missing")
        if hashlib.sha256(content).hexdigest() != promised.sha256:
            raise self._damaged(path, "its content is not what the receipt says")
        return self._parse(path, content, columns)

    def _parse(self, path: str, content: pa.Buffer, columns: list[str] | None = None) -> pa.Table:
        try:
            return pq.read_table(pa.BufferReader(content), columns=columns)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise self._damaged(path, str(error)) from error

    def _without_duplicates(self, shard: int, table: pa.Table) -> pa.Table:
        kept = self._mask(shard)
        return table if kept is None else table.filter(pa.array(kept))

    def _mask(self, shard: int) -> NDArray[np.bool_] | None:
        """Which rows of the shard stay, (N,); None if all do."""
        left_out = (self.duplicates() or {}).get(shard)
        if not left_out:
            return None
        if shard not in self._kept:
            names = pa.array([letter.document_id for letter in left_out], pa.string())
            column = self._read(shard, "chunks.parquet", ["document_id"])["document_id"]
            self._kept[shard] = np.packbits(~pc.is_in(column, value_set=names).to_numpy())
        receipt = self._receipt_of(shard)
        return np.unpackbits(self._kept[shard], count=receipt.num_chunks).astype(bool)

    def _need_manifest(self) -> Manifest:
        manifest = self.manifest()
        if manifest is None:
            raise StagingError(
                f"no plan in {self.describe()}, seen from {socket.gethostname()}",
                "manifest.json",
                "run `mrag ingest` from its start; on a cluster, staging.uri must be a place that "
                "every node reaches",
            )
        return manifest

    def _check(self, stored: str, wanted: str, path: str) -> None:
        if stored != wanted:
            raise FingerprintMismatch(
                f"{self._folder.describe(path)} belongs to plan {stored}",
                f"plan {wanted}",
                "delete that version's folder, or run with the config that made it",
            )

    def _damaged(self, path: str, why: str) -> StagingError:
        shard = path.rpartition("/heads/")[0] or path.rpartition("/")[0]
        redo = f"delete {self._folder.describe(shard)}" if shard else "delete it"
        return StagingError(
            f"{self._folder.describe(path)} is missing or damaged: {why}",
            "the file as its receipt describes it",
            f"{redo} and run the same command again: only that is done anew",
        )


def _without_tag(name: str) -> str:
    return _TAG.sub(".parquet", name)


def _shard(shard: int) -> str:
    return f"shards/{shard:05d}"


def _head(head: Head) -> str:
    return f"heads/{head}.parquet"
