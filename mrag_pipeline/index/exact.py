"""The VectorIndex port by brute force in memory: the yardstick, and the tests' index.

Keeps nothing when it is closed. Shape legend: N rows, D dimension.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.domain.filters import Filter, matches
from mrag_pipeline.domain.index_name import check_index_name
from mrag_pipeline.domain.precision import queries
from mrag_pipeline.domain.version import (
    chunks_collection,
    version_in,
)
from mrag_pipeline.errors import NoLiveVersion, PlanRefused
from mrag_pipeline.index.analyzer import check_analyzers, stale_ids
from mrag_pipeline.index.exact_rows import ExactRows
from mrag_pipeline.index.exact_versions import ExactVersions
from mrag_pipeline.index.lexical_table import LexicalTable
from mrag_pipeline.index.milvus import rows
from mrag_pipeline.ports import (
    AnySearchRequest,
    ChunkRow,
    CollectionSpec,
    IndexCapabilities,
    Mark,
    RangedLoads,
    Ranking,
    TextSearchRequest,
)
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.settings.vectors import VectorType

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 2_000


class ExactIndex(ExactVersions):
    """Every search compares the queries with every row."""

    def __init__(self, index: str, vector_dtype: VectorType = "float32") -> None:
        """Empty; takes and asks for vectors of that type only, as a Milvus server does."""
        super().__init__()
        self._index = check_index_name(index)
        self._dtype = vector_dtype
        self._collections: dict[str, ExactRows] = {}
        self._lexical: dict[str, LexicalTable] = {}

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
            for batch in rows.batches(table, _BATCH_ROWS):
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

    def count(self, collection: str) -> int:
        """Rows; 0 if there is no such collection."""
        if collection in self._lexical:
            return len(self._lexical[collection].words())
        found = self._collections.get(collection)
        return 0 if found is None else len(found.ids)

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

    def matching(
        self,
        collection: str,
        wanted: Filter,
        ids: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> NDArray[np.int64]:
        """The ids of the rows that match, rising."""
        texts = self._get(collection).texts
        tested = texts.keys() if ids is None else texts.keys() & {int(id_) for id_ in ids}
        matched = (chunk_id for chunk_id in tested if matches(wanted, texts[chunk_id]))
        return np.array(sorted(islice(matched, limit)), dtype=np.int64)

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """The document id of each row that exists, and the likely rows that do."""
        documents = {id_: row.document_id for id_, row in self.chunks(collection, ids).items()}
        return documents, self.chunks(collection, likely)

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """The rows that exist, by id."""
        texts = self._get(collection).texts
        return {int(i): texts[int(i)] for i in ids if int(i) in texts}

    def chunks_of_document(self, collection: str, document_id: str) -> list[ChunkRow]:
        """A document's rows, by ordinal."""
        held = self._get(collection).texts.values()
        mine = [row for row in held if row.document_id == document_id]
        return sorted(mine, key=lambda row: row.ordinal)

    def vectors(self, collection: str, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors that exist, by id: each (D,)."""
        held = self._get(collection)
        return {int(i): held.vectors[held.places[int(i)]] for i in ids if int(i) in held.places}

    def ids(self, collection: str) -> Iterator[NDArray[np.int64]]:
        """Every row's id once."""
        if collection in self._lexical:
            yield from self._blocks(self._lexical[collection].ids())
            return
        held = self._get(collection)
        yield from self._blocks(held.ids)

    def vector_blocks(
        self, collection: CollectionSpec
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Every row's id and vector once."""
        held = self._get(collection.name)
        for start in range(0, len(held.ids), _BATCH_ROWS):
            rows_of_block = slice(start, start + _BATCH_ROWS)
            yield held.ids[rows_of_block].copy(), held.vectors[rows_of_block].copy()

    def proofs(self, collection: str, ids: Sequence[int]) -> dict[int, str]:
        """What proves the rows that exist, by id; "" if nothing does."""
        held = self._get(collection).proofs
        return {int(i): held[int(i)] for i in ids if int(i) in held}

    def stale_words(self, collection: CollectionSpec, chunks: Sequence[ChunkRow]) -> list[int]:
        """The ids of those chunks whose words are missing or other ones."""
        stored = self._get_lexical(collection.name).words()
        return stale_ids(stored, chunks, collection.lexical or LexicalSpec())

    def marks(
        self, collection: str, start: int = 0, stop: int = ID_END
    ) -> Iterator[Sequence[Mark]]:
        """The rows of a chunks collection once; those of a range of ids."""
        texts = self._get(collection).texts.values()
        held = [row for row in texts if start <= row.id < stop]
        for first in range(0, len(held), _BATCH_ROWS):
            block = held[first : first + _BATCH_ROWS]
            yield [Mark(row.id, row.document_id, row.fingerprint) for row in block]

    def marks_of(self, collection: str, document_ids: Sequence[str]) -> list[Mark]:
        """The rows of these documents, each once."""
        wanted = set(document_ids)
        return [
            mark for block in self.marks(collection) for mark in block if mark.document_id in wanted
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

    def _blocks(self, ids: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        for start in range(0, len(ids), _BATCH_ROWS):
            yield ids[start : start + _BATCH_ROWS].copy()

    def _get_lexical(self, collection: str) -> LexicalTable:
        if collection not in self._lexical:
            raise NoLiveVersion(
                f"no collection {collection}", "a loaded version", "run `mrag ingest`"
            )
        return self._lexical[collection]

    def _get(self, collection: str) -> ExactRows:
        if collection not in self._collections:
            raise NoLiveVersion(
                f"no collection {collection}", "a loaded version", "run `mrag ingest`"
            )
        return self._collections[collection]
