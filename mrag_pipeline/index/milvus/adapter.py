"""The VectorIndex port on Milvus: Lite in this process, or a server."""

from __future__ import annotations

from mrag_pipeline.domain.index_name import check_index_name
from mrag_pipeline.index.milvus.full_text import TextSearches
from mrag_pipeline.index.milvus.ranges import MilvusRanges
from mrag_pipeline.index.milvus.search import CollectionSearches
from mrag_pipeline.ports import BulkFiles, VectorIndex
from mrag_pipeline.settings.milvus import MilvusSpec


def open_index(spec: MilvusSpec, index: str, files: BulkFiles | None = None) -> VectorIndex:
    """The index's collections in Milvus Lite or on a server; nothing is created in it yet.

    Args:
        files: where a server with bulk import finds large collections; None: all is inserted.
    Raises: ConfigError, IndexBusy if another process has the Lite database, IndexUnavailable.
    """
    return MilvusIndex(spec, check_index_name(index), files)


class MilvusIndex(MilvusRanges):
    """Every part of the port over one connection; safe to share by threads."""

    def __init__(self, spec: MilvusSpec, index: str, files: BulkFiles | None = None) -> None:
        super().__init__(spec, index, files)
        self._searches = CollectionSearches(
            self._client,
            self._direct,
            spec,
            self._index_type,
            self._capabilities.searches_at_once,
            self._in_memory,
            self._vector_type,
            TextSearches(self._client, spec, self._in_memory).search,
        )
        # Its methods are the port's as they are.
        self.search = self._searches.search
        self.search_within = self._searches.search_within

    def close(self) -> None:
        """Also ends the searches' threads, without waiting for a search."""
        if not self._is_closed and hasattr(self, "_searches"):
            self._searches.close()
        super().close()
