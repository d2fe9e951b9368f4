"""The VectorIndex port by brute force in memory: the yardstick, and the tests' index.

Keeps nothing when it is closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.domain.index_name import check_index_name
from mrag_pipeline.domain.precision import queries
from mrag_pipeline.domain.version import chunks_collection, version_in
from mrag_pipeline.errors import PlanRefused
from mrag_pipeline.index.analyzer import check_analyzers
from mrag_pipeline.index.exact_reads import BATCH_ROWS, ExactReads
from mrag_pipeline.index.exact_rows import ExactRows
from mrag_pipeline.index.lexical_table import LexicalTable
from mrag_pipeline.index.milvus import rows
from mrag_pipeline.ports import (
    AnySearchRequest,
    ChunkRow,
    CollectionSpec,
    IndexCapabilities,
    RangedLoads,
    Ranking,
    TextSearchRequest,
)
from mrag_pipeline.settings.vectors import VectorType

if TYPE_CHECKING:
    import pyarrow as pa


class ExactIndex(ExactReads):
    """Every search compares the queries with every row."""

    def __init__(self, index: str, vector_dtype: VectorType = "float32") -> None:
        """Empty; takes and asks for vectors of that type only, as a Milvus server does."""
        super().__init__()
        self._index = check_index_name(index)
        self._dtype = vector_dtype

    def describe(self) -> str:
        """One line for people: what it is, where."""
        return self.capabilities().store

    def capabilities(self) -> IndexCapabilities:
        """Memory is the only limit; one process and one thread at a time."""
        return IndexCapabilities(
            "exact search in memory",
            is_shared=False,
            loads_at_once=1,
            searches_at_once=1,
            searches_exactly=True,
            has_full_text=True,
        )

    def check_limits(
        self,
        collections: Sequence[CollectionSpec],
        num_chunks: int,  # noqa: ARG002
    ) -> tuple[str, ...]:
        """Refuses what `capabilities` excludes; how much memory is left is not known."""
        self.capabilities().check_collections(collections)
        check_analyzers(collections)
        return ()

    def load(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None = None,
    ) -> int:
        """Builds the collection anew from tables; returns its rows.

        Raises: PlanRefused if the collection belongs to the live version.
        """
        self.drop(collection.name)
        return self._build(collection, tables, on_rows)

    def rebuild(self, collection: CollectionSpec, tables: Iterable[pa.Table]) -> int:
        """Builds a collection anew, also one of the live version."""
        self._collections.pop(collection.name, None)
        self._lexical.pop(collection.name, None)
        return self._build(collection, tables, None)

    def damage(self, collection: str) -> str | None:
        """That a collection is lost; memory does not break."""
        is_there = collection in self._collections or collection in self._lexical
        return None if is_there else "it does not exist"

    def _build(
        self,
        collection: CollectionSpec,
        tables: Iterable[pa.Table],
        on_rows: Callable[[int], None] | None,
    ) -> int:
        if collection.lexical is not None:
            self._lexical[collection.name] = LexicalTable(collection.lexical)
            for table in tables:
                self._lexical[collection.name].add(table)
                if on_rows is not None:
                    on_rows(table.num_rows)
            return self.count(collection.name)
        built = ExactRows.none(collection.dim).with_rows(
            self._sent(tables, on_rows), collection.kind == "chunks"
        )
        self._collections[collection.name] = built
        return len(built.ids)

    def _sent(
        self, tables: Iterable[pa.Table], on_rows: Callable[[int], None] | None
    ) -> Iterator[dict[str, Any]]:
        for table in tables:
            for batch in rows.batches(table, BATCH_ROWS):
                yield from self._rows(batch)
                if on_rows is not None:
                    on_rows(batch.num_rows)

    def ranges(self) -> RangedLoads | None:
        """None: one process has it."""
        return None

    def is_complete(self, collection: CollectionSpec, num_rows: int) -> bool:
        """Whether the collection is there and has just so many rows."""
        name = collection.name
        exists = name in self._collections or name in self._lexical
        return exists and self.count(collection.name) == num_rows

    def collections(self) -> list[str]:
        """The names of this index's collections, sorted."""
        names = (*self._collections, *self._lexical)
        return sorted(n for n in names if version_in(self._index, n) is not None)

    def search(self, requests: Sequence[AnySearchRequest]) -> list[Ranking]:
        """The rankings, in the order of the requests; ties by the smaller id."""
        rankings = []
        for request in requests:
            if isinstance(request, TextSearchRequest):
                rankings.append(self._get_lexical(request.collection).search(request))
                continue
            held = self._get(request.collection)
            ids, vectors = held.ids, held.vectors
            if request.among is not None:
                few = np.isin(ids, request.among)
                ids, vectors = ids[few], vectors[few]
            hits = top_k(ids, vectors, queries(request.vectors, self._dtype), request.limit)
            rankings.append(Ranking(hits.ids, hits.scores))
        return rankings

    def search_within(
        self, requests: Sequence[AnySearchRequest], seconds: float
    ) -> list[Ranking | None]:
        """As `search`, one after the other; None for requests that are not started in time."""
        end = time.monotonic() + seconds
        return [
            self.search([request])[0] if time.monotonic() < end else None for request in requests
        ]

    def upsert(self, collection: CollectionSpec, table: pa.Table) -> None:
        """Adds rows; a row whose id is there is replaced."""
        if collection.lexical is not None:
            self._get_lexical(collection.name).add(table)
            return
        held, added = self._get(collection.name), self._rows(table)
        are_chunks = collection.kind == "chunks"
        self._collections[collection.name] = held.with_rows(added, are_chunks)

    def write_words(self, collection: CollectionSpec, chunks: Sequence[ChunkRow]) -> None:
        """Writes the words of these chunks; one that is there is replaced."""
        self._get_lexical(collection.name).write(chunks)

    def delete(self, collection: str, ids: Sequence[int]) -> None:
        """Removes the rows that exist."""
        if collection in self._lexical:
            self._lexical[collection].remove(np.array(ids, np.int64))
            return
        self._collections[collection] = self._get(collection).without(ids)

    def drop(self, collection: str) -> None:
        """Removes a collection if it is there.

        Raises: PlanRefused if it belongs to the live version.
        """
        version = version_in(self._index, collection)
        if version is not None and version == self._live:
            raise PlanRefused(
                f"{collection} belongs to the live version {version}",
                "a version that is not live",
                "publish another version first; what is damaged in this one, `mrag repair` mends",
            )
        self._collections.pop(collection, None)
        self._lexical.pop(collection, None)

    def activate(self, version: str) -> None:
        """Makes a version live.

        Raises: PlanRefused if the version's chunks collection is not there.
        """
        if chunks_collection(self._index, version) not in self._collections:
            raise PlanRefused(
                f"version {version} has no chunks collection", "a loaded version", "load it first"
            )
        self._live = version

    def size_bytes(self) -> int | None:
        """What the vectors take in memory."""
        return sum(held.vectors.nbytes for held in self._collections.values())

    def close(self) -> None:
        """Does nothing: what was loaded stays as long as the object."""

    def _rows(self, table: pa.Table) -> list[dict[str, Any]]:
        """Rows whose vectors went through the bytes that a server would be sent."""
        sent = rows.of(table, self._dtype)
        if self._dtype != "float32":
            for row in sent:
                row["vector"] = rows.answered([row["vector"]], self._dtype)
        return sent
