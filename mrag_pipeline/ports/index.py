"""What is searched: collections, the live alias and the version records.

Shape legend: N chunks, W windows, c hits per ranking, D dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Metadata
from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.domain.version import VersionRecord

if TYPE_CHECKING:
    import pyarrow as pa


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
