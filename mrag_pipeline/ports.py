"""The seams: what the stages need, said without naming a library that does it.

Every port has a contract suite in `tests/contracts/` that its fake and the real thing pass.
Arrow tables may cross a port; nothing else of a library may.
Shape legend: N texts or chunks, H heads, D head dimension, E standard width, W windows,
c hits per ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.chunking import Span
from mrag_pipeline.domain.documents import Chunk, DeadLetter, Document, Metadata
from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.domain.heads import Embeddings, EncoderCard, Head, Role
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.domain.version import VersionRecord

if TYPE_CHECKING:
    import pyarrow as pa


# ------------------------------------------------------------------ corpus
class CorpusReader(Protocol):
    """Where documents come from."""

    def slices(self, max_bytes: int) -> Iterator[Slice]:
        """The whole corpus once, in a fixed order, in pieces of about `max_bytes` at most.

        Raises: CorpusNotFound, EmptyCorpus (no file), BrokenFile.
        """

    def read(self, slices: Sequence[Slice]) -> Iterator[Document | DeadLetter]:
        """What the slices hold, in order, in bounded memory.

        A bad document is a dead letter, never an error.
        Raises: CorpusNotFound, BrokenFile; FingerprintMismatch if a file changed since planning.
        """

    def describe(self) -> str:
        """One line for people: format, files, and the field mapping with what was guessed."""


# ------------------------------------------------------------------ encoder
class Segmenter(Protocol):
    """Texts cut by the encoder's own tokens."""

    def passages(self, text: str) -> list[Span]:
        """Spans that fit a chunk, cut at paragraphs, then sentences, then words, with overlap."""

    def sentences(self, text: str) -> list[Span]:
        """The sentences of a text, in order; any language; no empty one."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, special tokens not counted."""


class Encoder(Protocol):
    """Texts to head embeddings, one forward pass."""

    @property
    def card(self) -> EncoderCard:
        """What the model is."""

    def encode(self, texts: Sequence[str], role: Role) -> Embeddings:
        """Head and standard embeddings, in the order of the texts, prefix of the role added.

        Returns: heads (N, H, D) float32, standard (N, E) float32 of unit length.
        """


# ------------------------------------------------------------------ staging
@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document that a shard took."""

    id: str
    fingerprint: str  # domain/documents.py: document_fingerprint
    source: str
    num_chunks: int


@dataclass(frozen=True, slots=True, eq=False)
class ShardOutput:
    """All that embedding a shard gives. Row i of `vectors` and `standard` is `chunks[i]`'s."""

    shard: int
    chunks: Sequence[Chunk]
    vectors: NDArray[np.float32]  # (N, H, D)
    standard: NDArray[np.float32]  # (N, E)
    sums: ImportanceSums
    documents: Sequence[DocumentRow]
    dead_letters: Sequence[DeadLetter]
    num_tokens: int
    num_bytes: int  # of text read


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
        """What `receipt` says of each, in order; asked at once where an answer is waited for."""

    def write_shard(self, output: ShardOutput, fingerprint: str) -> Receipt:
        """Stores a shard whole or not at all; the receipt last. Same output, same bytes.

        Raises: StorageFull.
        """

    def chunks(self, shard: int) -> pa.Table:
        """The shard's chunks with their standard embedding, duplicates left out.

        Columns: chunk_id int64, document_id, ordinal int32, start int64, end int64, title,
        text, metadata (JSON object as string), vector list<float32>.
        Raises: StagingError if the file is missing or damaged (so do the methods below).
        """

    def head(self, shard: int, head: Head) -> pa.Table:
        """One head's vectors: chunk_id int64, vector list<float32>; rows as in `chunks`."""

    def chunk_ids(self, shard: int) -> NDArray[np.int64]:
        """The shard's chunk ids (N,), rows as in `chunks`."""

    def sums(self, shard: int) -> ImportanceSums:
        """The shard's importance sums, over all its rows, duplicates counted."""

    def documents(self, shard: int) -> list[DocumentRow]:
        """The documents the shard took, in order, duplicates of other shards counted."""

    def dead_letters(self, shard: int) -> list[DeadLetter]:
        """The documents the shard could not take."""

    def write_duplicates(self, duplicates: Mapping[int, Sequence[DeadLetter]]) -> None:
        """Stores, by shard, the documents left out because an earlier shard has their id."""

    def duplicates(self) -> Mapping[int, Sequence[DeadLetter]] | None:
        """What `write_duplicates` stored, None if nothing was yet."""

    def duplicate_vectors(self, shard: int) -> NDArray[np.float32]:
        """The head vectors of the rows that are left out of the shard: (n, H, D)."""

    def free_bytes(self) -> int | None:
        """Free space, None where there is no such thing (an object store)."""


class DeltaStaging(Staging, Protocol):
    """Where one sync of one version keeps what it is about to do; its shards are staged here.

    The manifest is written once the documents and the removals are there: from then on what
    the sync does is settled, whatever happens to the corpus.
    """

    def write_documents(self, documents: Sequence[Document]) -> Slice:
        """Keeps documents to be embedded; named by their content, so never overwritten."""

    def reader(self) -> CorpusReader:
        """Reads what `write_documents` kept, each document equal to what was written."""

    def write_removed(self, marks: Sequence[Mark]) -> None:
        """Keeps which chunks the sync takes away or replaces."""

    def removed(self) -> list[Mark]:
        """What `write_removed` kept, in that order.

        Raises: StagingError if it is missing or damaged.
        """

    def write_removed_sums(self, sums: ImportanceSums) -> None:
        """Keeps the importance sums of what is taken away, read before the first deletion."""

    def removed_sums(self) -> ImportanceSums | None:
        """What `write_removed_sums` kept, to the last bit; None if nothing was yet."""

    def discard(self) -> None:
        """Forgets the plan, the removals and the shards; the documents stay."""

    def finish(self) -> None:
        """Forgets the documents and half-written rest: the sync is applied."""


@dataclass(frozen=True, slots=True)
class BulkFile:
    """A file that the index's server reads by itself."""

    name: str  # as the server knows it
    num_rows: int


class BulkFiles(Protocol):
    """Files for a server's bulk import, below a folder that both sides see."""

    def write(self, collection: str, tables: Iterable[pa.Table]) -> Iterator[BulkFile]:
        """The rows as Parquet files of bounded size, none named as any before it.

        Raises: BadVectors for what a bulk import would take unchecked (NaN, infinite, zero);
        StorageFull, StagingError.
        """

    def remove(self, collection: str) -> None:
        """Removes the collection's files, if there are any."""


class Export(Protocol):
    """A version as a folder of Parquet; its record is what makes it whole."""

    @property
    def staging(self) -> Staging:
        """Its shards."""

    def record(self) -> VersionRecord | None:
        """The version's record, None if the export is not whole."""

    def write_record(self, record: VersionRecord) -> None:
        """Makes the export whole."""


# ------------------------------------------------------------------ index
CollectionKind = Literal["head", "chunks"]


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """One collection. The metric is cosine, the primary key `chunk_id`, the vector `vector`."""

    name: str
    kind: CollectionKind
    dim: int


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """W queries to one collection."""

    collection: str
    vectors: NDArray[np.float32]  # (W, D)
    limit: int  # c
    among: NDArray[np.int64] | None = None  # only these ids; None: all


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Ordered hits of W queries; fewer hits than c are padded with id -1 and score -inf."""

    ids: NDArray[np.int64]  # (W, c)
    scores: NDArray[np.float32]  # (W, c), cosine similarity, falling


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk as the index stores it."""

    id: int
    document_id: str
    ordinal: int
    start: int
    end: int
    title: str
    text: str
    metadata: Metadata
    fingerprint: str = ""  # of its document


@dataclass(frozen=True, slots=True)
class Mark:
    """What a sync needs to know of a chunk: whose it is, and of which state of its document."""

    id: int
    document_id: str
    fingerprint: str  # domain/documents.py: document_fingerprint


class VectorIndex(Protocol):
    """Collections, the live alias and the version records of one index.

    All raise IndexBusy (another process owns it) or IndexUnavailable when they cannot answer.
    """

    def describe(self) -> str:
        """One line for people: what it is, where."""

    def check_limits(self, collections: Sequence[CollectionSpec], num_chunks: int) -> None:
        """Refuses what the backend cannot hold.

        Raises: PlanRefused.
        """

    def loads_at_once(self) -> int:
        """How many collections may be loaded at the same time, by threads of one process."""

    def load(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None = None,
    ) -> int:
        """Builds the collection anew: dropped if there, created, filled, indexed, loaded.

        Tables are `Staging.head`'s or `Staging.chunks`'s; `on_rows` is told of rows as they
        go in (and of 0 now and then while a server works), and what it raises ends the load.
        Returns: the rows counted in it afterwards.
        Raises: PlanRefused if the collection belongs to the live version.
        """

    def is_complete(self, collection: CollectionSpec, num_rows: int) -> bool:
        """Whether the collection is there, indexed, loaded and has just so many rows."""

    def count(self, collection: str) -> int:
        """Rows; 0 if there is no such collection."""

    def collections(self) -> list[str]:
        """The names of this index's collections, sorted."""

    def search(self, requests: Sequence[SearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests; run at the same time where that helps."""

    def search_within(
        self, requests: Sequence[SearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """As `search`; None for what is not answered in so many seconds, or not at all.

        What is late is not waited for, here or by a later call.
        Raises: NoLiveVersion, PlanRefused: what no waiting helps.
        """

    def matching(
        self,
        collection: str,
        wanted: Filter,
        ids: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> NDArray[np.int64]:
        """The ids of a chunks collection's rows that `filters.matches` says yes to, rising.

        Args:
            ids: only these are asked about; None: all rows.
            limit: stop at so many, whichever they are.
        """

    def documents(self, collection: str, ids: Sequence[int]) -> dict[int, str]:
        """The document of each row that exists, by id: what voting needs, without the texts."""

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """`documents` of the ids; and rows of the likely ones, where that costs no waiting.

        A likely row that is not among them may exist or not.
        """

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """The rows that exist, by id."""

    def chunks_of_document(self, collection: str, document_id: str) -> list[ChunkRow]:
        """A document's rows, by ordinal."""

    def vectors(self, collection: str, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors that exist, by id: each (D,)."""

    def ids(self, collection: str) -> Iterator[NDArray[np.int64]]:
        """Every row's id once, in blocks of bounded size, none empty; any order."""

    def marks(self, collection: str) -> Iterator[Sequence[Mark]]:
        """Every row of a chunks collection once, in blocks of bounded size; any order."""

    def upsert(self, collection: CollectionSpec, table: pa.Table) -> None:
        """Adds rows to a loaded collection; a row whose id is there is replaced.

        When this returns, every later read sees them. Done again, it changes nothing.
        """

    def delete(self, collection: str, ids: Sequence[int]) -> None:
        """Removes the rows that exist; when this returns, no later read sees them."""

    def drop(self, collection: str) -> None:
        """Removes a collection if it is there.

        Raises: PlanRefused if it belongs to the live version.
        """

    def live(self) -> str | None:
        """The live version's name."""

    def activate(self, version: str) -> None:
        """Makes a version live: one atomic flip of one alias."""

    def write_record(self, record: VersionRecord) -> None:
        """Stores a version's record, replacing an earlier one whole."""

    def record(self, version: str) -> VersionRecord | None:
        """A version's record."""

    def records(self) -> list[VersionRecord]:
        """All records, oldest first."""

    def drop_record(self, version: str) -> None:
        """Removes a version's record if there is one.

        Raises: PlanRefused if it is the live version's.
        """

    def size_bytes(self) -> int | None:
        """What the index takes on disk, None where that cannot be known from here."""

    def close(self) -> None:
        """Lets go of the connection; a second call does nothing."""


# ------------------------------------------------------------------ work
class WorkerPool(Protocol):
    """Where shards are embedded."""

    def describe(self) -> str:
        """One line for people: how many workers, on what."""

    def run(self, shards: Iterable[Shard]) -> Iterator[Receipt]:
        """A receipt for each shard, as they finish, in any order.

        A worker that dies costs its shards a second try, on another worker.
        Raises: WorkerLost when a shard has failed too often; a shard's own permanent error.
        """

    def close(self) -> None:
        """Ends the workers; a second call does nothing."""


class Progress(Protocol):
    """Who is told how a long phase goes."""

    def phase(self, name: str, total: int, unit: str) -> None:
        """A phase starts: `total` units of work, some perhaps already done."""

    def advance(self, done: int, facts: Mapping[str, int] | None = None) -> None:
        """`done` more units; `facts` are counts to add (documents, chunks, tokens...)."""

    def note(self, text: str) -> None:
        """One line worth reading."""

    def finish(self) -> None:
        """The phase is over."""
