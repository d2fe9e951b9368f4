"""Reading and changing the rows of collections.

Shape legend: D dimension.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Metadata
from mrag_pipeline.domain.filters import Filter
from mrag_pipeline.ports.index.collection_spec import CollectionSpec

if TYPE_CHECKING:
    import pyarrow as pa

ID_END = 2**63  # chunk ids are below it and evenly spread


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
    """What a sync needs to know of a chunk: its document, and which state of that document."""

    id: int
    document_id: str
    fingerprint: str  # domain/documents.py: document_fingerprint


class ChunkLookup(Protocol):
    """What a query reads of a chunks collection: which chunks match, and what they hold.

    All raise IndexBusy (another process owns the index) or IndexUnavailable when they cannot
    answer; so do the methods of the other protocols of this module.
    """

    def matching(
        self,
        collection: str,
        wanted: Filter,
        ids: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> NDArray[np.int64]:
        """The ids of the rows for which `filters.matches` is true, rising.

        Args:
            ids: only these rows are tested; None: all rows.
            limit: stop after so many matches, whichever they are.
        """

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """The document id of each row that exists, by chunk id; and rows of the likely ones.

        Likely rows are returned only where reading them takes no extra time: one that is missing
        from the answer may exist or not.
        """

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """The rows that exist, by chunk id."""


class DocumentRows(Protocol):
    """What looking at one document reads: its rows, and their stored vectors."""

    def vectors(self, collection: str, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors that exist, by chunk id: each (D,)."""

    def chunks_of_document(self, collection: str, document_id: str) -> list[ChunkRow]:
        """A document's rows, by ordinal."""


class Rows(DocumentRows, Protocol):
    """What checks, copies and comparisons of a version read: every row, and stored vectors."""

    def count(self, collection: str) -> int:
        """Number of rows; 0 if there is no such collection."""

    def damage(self, collection: str) -> str | None:
        """Why a collection cannot be used: it is lost, or it cannot be read. None: it can.

        Raises: IndexUnavailable where it may be whole, and the server does not answer.
        """

    def ids(self, collection: str) -> Iterator[NDArray[np.int64]]:
        """Every row's id once, in blocks of bounded size, none empty; any order."""

    def vector_blocks(
        self, collection: CollectionSpec
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Every row's id and vector once, in blocks of bounded size: (n,) and (n, D); any order."""

    def marks(
        self, collection: str, start: int = 0, stop: int = ID_END
    ) -> Iterator[Sequence[Mark]]:
        """The rows of a chunks collection once, in blocks of bounded size; any order.

        Args:
            start, stop: only rows whose id is in [start, stop); no other row is read.
        """

    def marks_of(self, collection: str, document_ids: Sequence[str]) -> list[Mark]:
        """The rows of these documents in a chunks collection, each once; any order.

        Found by the documents' ids: no other row is read.
        """

    def proofs(self, collection: str, ids: Sequence[int]) -> dict[int, str]:
        """What proves the rows that exist (`domain/proofs.py`), by chunk id; "" if nothing does."""

    def stale_words(self, collection: CollectionSpec, chunks: Sequence[ChunkRow]) -> list[int]:
        """The ids of those chunks whose words a lexical collection lacks, or has otherwise."""


class RowChanges(Protocol):
    """Adding and removing single rows of loaded collections, and building a damaged one anew."""

    def upsert(self, collection: CollectionSpec, table: pa.Table) -> None:
        """Adds rows to a loaded collection; a row whose id exists is replaced.

        When this returns, every later read sees them. Doing it again changes nothing.
        """

    def write_words(self, collection: CollectionSpec, chunks: Sequence[ChunkRow]) -> None:
        """Writes the words of these chunks into a lexical collection; one there is replaced."""

    def rebuild(self, collection: CollectionSpec, tables: Iterable[pa.Table]) -> int:
        """Builds a collection that is damaged anew, also one of the live version, which stays live.

        Readers fail until it is built. Returns: its rows.
        """

    def delete(self, collection: str, ids: Sequence[int]) -> None:
        """Removes the rows that exist; when this returns, no later read sees them."""
