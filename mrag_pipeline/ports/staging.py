"""Where vectors wait between embedding and loading.

Shape legend: N chunks, n chunks left out, H heads, D head dimension, E standard width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Chunk, DeadLetter, Document
from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports.corpus import CorpusReader
from mrag_pipeline.ports.index.rows import Mark
from mrag_pipeline.ports.staged_tables import StagedTable

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document that a shard took."""

    id: str
    fingerprint: str  # domain/documents.py: document_fingerprint
    source: str
    num_chunks: int


@dataclass(frozen=True, slots=True, eq=False)
class ShardOutput:
    """The result of embedding a shard. Row i of `vectors` and `standard` is `chunks[i]`'s."""

    shard: int
    chunks: Sequence[Chunk]
    vectors: NDArray[np.float32]  # (N, H, D)
    standard: NDArray[np.float32]  # (N, E)
    sums: ImportanceSums
    documents: Sequence[DocumentRow]
    dead_letters: Sequence[DeadLetter]
    num_tokens: int
    num_bytes: int  # of text read
    remarks: Mapping[str, int] = field(default_factory=dict)  # documents, by what is told of them


class Staging(Protocol):
    """Where one version's shards wait to be loaded; bound to one index and version."""

    def describe(self) -> str:
        """Where it is, for people."""

    def manifest(self) -> Manifest | None:
        """The plan, if there is one."""

    def write_manifest(self, manifest: Manifest) -> None:
        """Stores the plan, atomically; the same plan again changes nothing.

        Raises: FingerprintMismatch if another plan is stored here; StorageFull.
        """

    def receipt(self, shard: int, fingerprint: str) -> Receipt | None:
        """The shard's receipt, None if it is not done (or its files are missing or cut short).

        Raises: FingerprintMismatch if the receipt belongs to another plan.
        """

    def receipts(self, shards: Iterable[int], fingerprint: str) -> Iterator[Receipt | None]:
        """The receipt of each shard, in order; read in parallel where each read waits."""

    def write_shard(self, output: ShardOutput, fingerprint: str) -> Receipt:
        """Stores a shard whole or not at all; the receipt last. Same output, same bytes.

        Raises: StorageFull.
        """

    def chunks(self, shard: int) -> pa.Table:
        """The shard's chunks with their standard embedding, duplicates left out.

        Columns: chunk_id int64, document_id, ordinal int32, start int64, end int64, title,
        text, metadata (JSON object as string), fingerprint, vector list<float32>, proof
        (`domain/proofs.py`; "" in shards that were staged before there were any).
        Raises: StagingError if the file is missing or damaged (so do the methods below).
        """

    def head(self, shard: int, head: Head) -> pa.Table:
        """One head's vectors: chunk_id int64, vector list<float32>; rows as in `chunks`."""

    def head_file(self, shard: int, head: Head) -> StagedTable | None:
        """The file that holds what `head` returns and nothing else; it is not opened.

        None if there is none: vectors are staged in another type, or rows are left out.
        """

    def chunks_file(self, shard: int) -> StagedTable | None:
        """The file that holds what `chunks` returns and nothing else; at most its end is read.

        None if there is none: proofs are staged in a file of their own, or rows are left out.
        """

    def chunk_ids(self, shard: int) -> NDArray[np.int64]:
        """The shard's chunk ids (N,), rows as in `chunks`."""

    def all_chunk_ids(self, shard: int) -> NDArray[np.int64]:
        """The ids of all chunks staged for the shard (N,), duplicates counted."""

    def sums(self, shard: int) -> ImportanceSums:
        """The shard's importance sums, over all its rows, duplicates counted."""

    def documents(self, shard: int) -> list[DocumentRow]:
        """The documents the shard took, in order, duplicates of other shards counted."""

    def dead_letters(self, shard: int) -> list[DeadLetter]:
        """The documents the shard could not take."""

    def write_duplicates(self, duplicates: Mapping[int, Sequence[DeadLetter]]) -> None:
        """Stores, by shard, documents to leave out: their id, or a chunk's, is an earlier one's."""

    def duplicates(self) -> Mapping[int, Sequence[DeadLetter]] | None:
        """What `write_duplicates` stored, None if nothing is stored yet."""

    def duplicate_vectors(self, shard: int) -> NDArray[np.float32]:
        """The head vectors of the rows that are left out of the shard: (n, H, D)."""

    def duplicate_chunk_ids(self, shard: int) -> NDArray[np.int64]:
        """The ids of the same rows: (n,)."""

    def free_bytes(self) -> int | None:
        """Free space, None where there is no such thing (an object store)."""


class DeltaStaging(Staging, Protocol):
    """What one sync of one version is about to do, and the shards that it embeds.

    The manifest is written after the documents and the removals: from then on the sync is
    settled, whatever happens to the corpus.
    """

    def write_documents(self, documents: Sequence[Document]) -> Slice:
        """Stores documents to be embedded; named by their content, so never overwritten."""

    def reader(self) -> CorpusReader:
        """Reads what `write_documents` stored, each document equal to what was written."""

    def write_removed(self, blocks: Iterable[Sequence[Mark]]) -> None:
        """Stores the chunks that the sync removes or replaces, in blocks of any size."""

    def removed(self) -> Iterator[Sequence[Mark]]:
        """What `write_removed` stored, in that order, in blocks of bounded size; none is empty.

        Raises: StagingError, at the first block or a later one, if it is missing or damaged.
        """

    def write_removed_sums(self, sums: ImportanceSums) -> None:
        """Stores the importance sums of the removed chunks, read before the first deletion."""

    def removed_sums(self) -> ImportanceSums | None:
        """What `write_removed_sums` stored, to the last bit; None if nothing is stored yet."""

    def is_open(self) -> bool:
        """Whether its documents are there still: then the sync is not finished."""

    def discard(self) -> None:
        """Removes the plan, the removals and the shards; the documents stay."""

    def finish(self) -> None:
        """Removes the documents: the sync is applied."""


@dataclass(frozen=True, slots=True)
class BulkFile:
    """A file that the index's server reads by itself."""

    name: str  # as the server knows it
    num_rows: int
    staged: StagedTable | None = None  # whose file this is; None: a file written for the import


class BulkFiles(Protocol):
    """Files for a server's bulk import, below a folder that both sides see."""

    def write(
        self, collection: str, tables: Iterable[pa.Table | StagedTable]
    ) -> Iterator[BulkFile]:
        """The rows as Parquet files, in any order.

        A large staged file that the server can find is taken as it is. Everything else is written
        to files of bounded size, none named as any before it.
        Raises: BadVectors for what a bulk import would take unchecked (NaN, infinite, zero);
        StorageFull, StagingError.
        """

    def remove(self, collection: str) -> None:
        """Removes the files that were written for the collection, never a staged one."""


class Export(Protocol):
    """A version as a folder of Parquet; it is whole once its record is written."""

    @property
    def staging(self) -> Staging:
        """Its shards."""

    def record(self) -> VersionRecord | None:
        """The version's record, None if the export is not whole."""

    def write_record(self, record: VersionRecord) -> None:
        """Makes the export whole."""
