"""The parts of an index that belong together in one caller's hands."""

from __future__ import annotations

from typing import Protocol

from mrag_pipeline.ports.index.collections import Collections
from mrag_pipeline.ports.index.rows import ChunkLookup, DocumentRows, RowChanges, Rows
from mrag_pipeline.ports.index.searches import Searches
from mrag_pipeline.ports.index.versions import Versions


class QueryIndex(Searches, ChunkLookup, Protocol):
    """What answering a query from one version needs."""


class BrowsedIndex(QueryIndex, DocumentRows, Protocol):
    """What browsing a version needs: finding documents, reading them, and their neighbours."""


class ServedIndex(BrowsedIndex, Rows, Versions, Protocol):
    """What a service needs: queries, documents, every vector, and which version is live."""


class VersionBuilds(Collections, Rows, RowChanges, Versions, Protocol):
    """What building, importing and dropping whole versions needs."""


class ReadableVersion(Rows, ChunkLookup, Protocol):
    """What reading a whole version needs: its vectors and its texts."""


class AuditedVersion(ReadableVersion, Searches, Protocol):
    """What checking a version needs: its rows, and whether searches find them."""


class ComparableVersions(ReadableVersion, Versions, Protocol):
    """What comparing two versions needs: which are there, and their texts."""


class VersionRows(Rows, ChunkLookup, Searches, RowChanges, Versions, Protocol):
    """What changing rows inside a version needs: a sync, a repair."""


class VectorIndex(Collections, Searches, ChunkLookup, Rows, RowChanges, Versions, Protocol):
    """Everything that one index offers; what an adapter implements and wiring returns."""

    def size_bytes(self) -> int | None:
        """What the index takes on disk, None where that cannot be known from here."""

    def close(self) -> None:
        """Lets go of the connection; a second call does nothing."""
