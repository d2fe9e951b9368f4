"""The rows of collections in memory, as they are read; for exact search.

Shape legend: D dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.filters import Filter, matches
from mrag_pipeline.errors import NoLiveVersion
from mrag_pipeline.index.analyzer import stale_ids
from mrag_pipeline.index.exact_rows import ExactRows
from mrag_pipeline.index.exact_versions import ExactVersions
from mrag_pipeline.index.lexical_table import LexicalTable
from mrag_pipeline.ports import ChunkRow, CollectionSpec, Mark
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.settings.lexical import LexicalSpec

BATCH_ROWS = 2_000


class ExactReads(ExactVersions):
    """Collections by name, and what is read of their rows."""

    def __init__(self) -> None:
        """Has no collection."""
        super().__init__()
        self._collections: dict[str, ExactRows] = {}
        self._lexical: dict[str, LexicalTable] = {}

    def count(self, collection: str) -> int:
        """Rows; 0 if there is no such collection."""
        if collection in self._lexical:
            return len(self._lexical[collection].words())
        found = self._collections.get(collection)
        return 0 if found is None else len(found.ids)

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
        for start in range(0, len(held.ids), BATCH_ROWS):
            rows_of_block = slice(start, start + BATCH_ROWS)
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
        for first in range(0, len(held), BATCH_ROWS):
            block = held[first : first + BATCH_ROWS]
            yield [Mark(row.id, row.document_id, row.fingerprint) for row in block]

    def marks_of(self, collection: str, document_ids: Sequence[str]) -> list[Mark]:
        """The rows of these documents, each once."""
        wanted = set(document_ids)
        return [
            mark for block in self.marks(collection) for mark in block if mark.document_id in wanted
        ]

    def _blocks(self, ids: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        for start in range(0, len(ids), BATCH_ROWS):
            yield ids[start : start + BATCH_ROWS].copy()

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
