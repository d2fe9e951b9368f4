"""What a store can do, and its limits: what callers ask instead of which store it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.ports.index.collection_spec import CollectionSpec
from mrag_pipeline.settings.chunking import MAX_CHUNK_CHARS

NO_LIMIT = 2**62  # more than any caller asks for
_CHUNK_BYTES = 4 * MAX_CHUNK_CHARS  # a character of UTF-8 has 4 bytes at most


@dataclass(frozen=True, slots=True)
class IndexCapabilities:
    """What one opened index can do. Limits are inclusive."""

    store: str  # for people, with its version: "Milvus 2.3.5"
    is_shared: bool  # whether several processes may have the index open at once
    loads_at_once: int  # whole collections, by threads or workers; not ranges of them
    searches_at_once: int  # by threads of one process
    min_dim: int = 1
    max_dim: int = NO_LIMIT
    max_name_chars: int = NO_LIMIT  # of a collection's name
    max_string_bytes: int = NO_LIMIT  # of one text, title or id
    max_hits: int = NO_LIMIT  # of one ranking
    has_bulk_import: bool = False  # the server fetches files by itself
    searches_exactly: bool = False  # whether a search compares its vector with every row
    # What decides which rows a search finds: milvus.index_type and its parameters, by those names.
    vector_index: Mapping[str, object] = field(default_factory=dict)
    has_full_text: bool = False
    has_strong_reads: bool = True  # a read sees every write that had ended before, of any process

    def check_collections(self, collections: Iterable[CollectionSpec]) -> None:
        """Refuses dimensions and names that the store does not take.

        Raises: PlanRefused.
        """
        for collection in collections:
            is_vector = collection.kind != "lexical"
            if is_vector and not self.min_dim <= collection.dim <= self.max_dim:
                raise PlanRefused(
                    f"{collection.name} would have {collection.dim} dimensions",
                    f"{self.min_dim} to {self.max_dim:,}, the limits of {self.store}",
                    "choose another encoder",
                )
            if len(collection.name) > self.max_name_chars:
                raise PlanRefused(
                    f"collection name {collection.name!r} has {len(collection.name)} characters",
                    f"{self.max_name_chars:,} at most, the limit of {self.store}",
                    "shorten `index` in the config file",
                )
            if collection.kind == "chunks" and self.max_string_bytes < _CHUNK_BYTES:
                raise PlanRefused(
                    f"{self.store} stores texts of {self.max_string_bytes:,} bytes at most",
                    f"{_CHUNK_BYTES:,} bytes, the longest chunk",
                    "use another store",
                )


class HasCapabilities(Protocol):
    """Whatever says what its store can do."""

    def capabilities(self) -> IndexCapabilities:
        """What the store can do; known since the index was opened, so this asks no server."""
